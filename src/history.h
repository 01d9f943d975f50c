/*
 * history.h
 *
 * Events as SQL rows, for pay_history() and for what shows events among others.
 */
#ifndef PAY_HISTORY_H
#define PAY_HISTORY_H

#include "postgres.h"

#include "rows.h"

/* Columns that pay_history() shows of an event. */
#define PAY_HISTORY_COLUMNS 22

/* Fill PAY_HISTORY_COLUMNS values of an event, in pay_history()'s order. */
extern void PayShowEvent(const PayEvent *event, Datum *values, bool *nulls);

#endif							/* PAY_HISTORY_H */

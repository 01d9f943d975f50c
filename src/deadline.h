/*
 * deadline.h
 *
 * Points in time that follow from stored or given intervals.
 */
#ifndef PAY_DEADLINE_H
#define PAY_DEADLINE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Nothing lasts longer; it keeps deadlines within a timestamp's range. */
#define PAY_MAX_YEARS			1000

/*
 * from + wait, which may be negative.  DT_NOEND for an interval that has a part of
 * more than PAY_MAX_YEARS, whatever its other parts say: it never comes.
 */
extern TimestampTz PayAfter(TimestampTz from, const Interval *wait);

#endif							/* PAY_DEADLINE_H */

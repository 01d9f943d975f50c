/*
 * database.h
 *
 * Is this database the one that talks to channels, or a copy of it?
 *
 * pay_database names the clusters, by the system identifier that initdb gives
 * each, whose workers may send what is due.  A dump that is restored elsewhere
 * brings the rows of where it came from, and so hands out nothing until a person
 * adopts it: a staging system must not refund the shop's customers again.
 */
#ifndef PAY_DATABASE_H
#define PAY_DATABASE_H

#include "postgres.h"

#include "store.h"

/* PY409 on a copy. */
extern void PayCheckDatabaseIsAdopted(PayStore *store);

#endif							/* PAY_DATABASE_H */

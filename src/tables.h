/*
 * tables.h
 *
 * What our tables look like, and where they are.
 *
 * A table is data: a list of columns (name, kind, place in the C struct of a
 * row, as rows.h has it) and a list of indexes (names of their columns).  The
 * store reads and writes through these lists.  Where the columns and indexes
 * are in the database is looked up by name once and remembered by the backend,
 * until relcache or syscache invalidation says that something changed.
 *
 * Looking a table up also checks what protects it: its guards and CHECKs, and
 * that it is an ordinary table, logged, without relatives by inheritance or rules.
 *
 * A part of the store: only store.c, target.c and caller.c use this.
 */
#ifndef PAY_TABLES_H
#define PAY_TABLES_H

#include "postgres.h"

#include "nodes/primnodes.h"
#include "rows.h"
#include "utils/relcache.h"

#define PAY_MAX_COLUMNS		27
#define PAY_MAX_INDEXES		3
#define PAY_MAX_KEYS		4
#define PAY_MAX_CONDITIONS	2

typedef enum PayKind
{
	KIND_INT2,
	KIND_INT4,
	KIND_INT8,
	KIND_BOOL,
	KIND_STATE,					/* pay_state */
	KIND_DECISION,				/* pay_decision */
	KIND_REFUND_STATE,			/* pay_refund_state */
	KIND_UUID,
	KIND_TIME,
	KIND_INTERVAL,
	KIND_NAME,
	KIND_TEXT,
	KIND_JSONB,
	KIND_ROUTES,				/* smallint[] */
	KIND_INTERVALS				/* interval[] */
} PayKind;

typedef struct PayKindTraits
{
	Size		size;			/* of the struct's field */
	RegProcedure equals;		/* for a key: the type's equality */
	Oid			type;
	const char *own_type;		/* name of the type, where it is ours */
} PayKindTraits;

extern const PayKindTraits pay_kinds[];

/* column options */
#define NULLABLE	0x01		/* the struct's "none" is NULL */
#define DEFAULTED	0x04		/* "none" takes the column's default */
#define REMAKEABLE	0x08		/* pay_install() makes it again where it is lost: nothing is lost with it */

typedef struct PayColumn
{
	const char *name;
	PayKind		kind;
	int			options;
	Size		offset;
} PayColumn;

/* what an index is for */
#define LOOKUP		0x00		/* only to find rows */
#define UNIQUE		0x01		/* at most one row has these keys */
#define ARBITER		0x02		/* others may insert the same keys at the same instant */
#define DRAWN		0x04		/* but only by chance: we drew them at random */

/* A partial index has one or two columns that are, or are not, NULL. */
typedef struct PayCondition
{
	const char *column;
	NullTestType test;
} PayCondition;

typedef struct PayKey
{
	int			options;
	int			n;
	const char *column[PAY_MAX_KEYS];
	int			n_where;
	PayCondition where[PAY_MAX_CONDITIONS];
} PayKey;

typedef struct PayTable
{
	const char *name;
	Size		row_size;
	bool		insert_or_find;
	int			n_columns;
	PayColumn	column[PAY_MAX_COLUMNS];
	int			n_indexes;
	PayKey		index[PAY_MAX_INDEXES];
} PayTable;

extern const PayTable pay_tables[PAY_TABLES];

/* positions in the lists of indexes */
#define CHANNEL_BY_ROUTE	0
#define CHANNEL_BY_NAME		1
#define PAYMENT_BY_NUMBER	0
#define PAYMENT_BY_ORDER	1
#define PAYMENT_BY_PAYER	2
#define ATTEMPT_BY_NUMBER	0
#define EVENT_BY_SEQ		0
#define EVENT_BY_MESSAGE	1
#define REVIEW_BY_ID		0
#define REVIEW_BY_PAYMENT	1
#define REVIEW_UNMATCHED	2
#define REFUND_BY_NUMBER	0
#define REFUND_BY_PAYMENT	1
#define DISPUTE_BY_ID		0
#define DISPUTE_BY_PAYMENTS	1
#define TASK_BY_TIME		0
#define RESOURCE_BY_NAME	0
#define HOLD_BY_RESOURCE	0
#define DATABASE_BY_IDENTIFIER	0

/* A table found: where each of our columns and indexes is. */
typedef struct PayTableMap
{
	Oid			relid;
	Oid			owner;
	bool		has_defaults;	/* columns whose default an INSERT must compute */
	AttrNumber	attnum[PAY_MAX_COLUMNS];
	Oid			index[PAY_MAX_INDEXES];
	PayKind		key_kind[PAY_MAX_INDEXES][PAY_MAX_KEYS];
} PayTableMap;

typedef struct PayCatalog
{
	bool		valid;
	Oid			home;			/* schema */
	Oid			guard;			/* the function pay_guard() */
	Oid			owner;			/* of all our tables */
	uint64		edition;		/* counts how often it was filled */
	PayTableMap table[PAY_TABLES];
} PayCatalog;

extern PayCatalog pay_catalog;

/* Make the catalog valid for this schema, or say PY503. */
extern void PayFillCatalog(Oid home);

/* Has the index just the keys, their order and the conditions that we want? */
extern bool PayIndexFits(Relation index, const PayTable *table, const PayTableMap *map,
						 const PayKey *wanted);

/* Position of a column of ours in its table's list. */
extern int	PayColumnNamed(const PayTable *table, const char *name);

#endif							/* PAY_TABLES_H */

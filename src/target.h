/*
 * target.h
 *
 * A table ready to be written to.
 *
 * What the executor sets up for every statement that writes (a result relation,
 * what its indexes want, compiled constraints, a slot, executor state) is the same
 * for every call of ours, and costs more than the writing itself.  So the backend
 * keeps it between calls, for tables that need nothing of one call: no triggers but
 * our guards, nothing to compute, B-tree indexes of plain columns, constraints and
 * conditions that are safe to keep.  Any other table gets a target for one call, in
 * the executor state of that call.
 *
 * One call at a time has what is kept, because a constraint may call a function
 * that calls us; a second one gets a target of its own.
 *
 * A part of the store: only it uses this.
 */
#ifndef PAY_TARGET_H
#define PAY_TARGET_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "tables.h"

typedef struct PayTarget
{
	ResultRelInfo *ri;
	EState	   *estate;
	TupleTableSlot *slot;		/* of the row to be written */
	bool		kept;
	bool		indexes_open;	/* of one that is not kept */
	int			n_indexes;		/* of one that is */
	Oid		   *index;

	/*
	 * once indexes were opened: those that may find a key of ours taken, and of
	 * these the ones of keys that others use
	 */
	List	   *arbiters;
	List	   *contested;
} PayTarget;

/* The kept target of a table, or NULL if it is in use or must be one for this call. */
extern PayTarget *PayTakeTarget(PayTableId id, Relation rel);

/* Make one for this call, in the current memory context. */
extern PayTarget *PayMakeTarget(Relation rel, EState *estate);

/* Before the row in the slot gets index entries: open and lock the indexes that want it. */
extern void PayOpenIndexes(PayTarget *target, PayTableId id);

/* Forget what writing a row took; the end of one of many things in a call. */
extern void PayResetTarget(PayTarget *target);

/* The call is done with a kept one. */
extern void PayGiveBackTarget(PayTarget *target);

/* The call that had a kept one failed, and nobody knows what it left in it. */
extern void PayForgetTarget(PayTableId id);

#endif							/* PAY_TARGET_H */

/*
 * work.h
 *		The work list of a run, shared by its processes; and the kinds of runs.
 */
#ifndef BILLING_RUN_WORK_H
#define BILLING_RUN_WORK_H

#include "lib/gate.h"
#include "lib/spi.h"
#include "run/bill.h"

struct BillRun;

/* What differs between runs: which accounts have work ($1 at, $2 entity, $3 spread), and what is done with them. */
typedef struct RunKind
{
	const char *procedure;
	const char *name;			/* in messages */
	const char *verb;			/* likewise: what it could not do to accounts */
	const char *phase;			/* of table run_worker */
	const char *made;			/* what it counts */
	SpiQuery	list;			/* enters the ranges */
	SpiQuery	lock;			/* locks all that have work */
	SpiQuery	members;		/* those of a range */
	void		(*act) (struct BillRun *run, int64 *ids, int count, bool wait, BillResult *result);
	SpiQuery	call;			/* how, where one call does it; $3: all are locked */
} RunKind;

/* One process of a run. */
typedef struct BillRun
{
	RunKind    *kind;
	BillOptions options;
	const char *entity;			/* NULL: all */
	int64		spread;			/* seconds over which what is due is spread; 0: all at once */
	int			batch_size;
	int			worker;			/* 0: the leader, the session that called */
	bool		atomic;			/* in a transaction block: no commits */
	bool		locked;			/* everything due at the start is locked */
	BooksScope	scope;
	RunContext *context;
	MemoryContext memory;		/* lasts as long as the run */
	MemoryContext batch_context;	/* reset after each batch */
	int64		id;
	int64		total;			/* accounts due at the start; the leader's */
	int			batches;		/* likewise */
	int64		done;			/* accounts, documents, parked accounts of this process */
	int64		documents;
	int64		errors;
	TimestampTz last_notice;
} BillRun;

extern RunKind bill_run_kind;
extern RunKind dunning_run_kind;
extern RunKind collection_run_kind;

extern void work_open(BillRun *run, MemoryContext memory);
extern void work_close(BillRun *run);
extern void work_list(BillRun *run);
extern void work_lock_everything(BillRun *run);
extern void work_do(BillRun *run);
extern void work_begin(void);
extern void work_end(void);
extern void work_step(BillRun *run);
extern void work_report(BillRun *run, const char *phase);

#endif							/* BILLING_RUN_WORK_H */

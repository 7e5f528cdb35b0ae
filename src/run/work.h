/*
 * work.h
 *		The work list of a bill run, shared by its processes.
 */
#ifndef BILLING_RUN_WORK_H
#define BILLING_RUN_WORK_H

#include "lib/gate.h"
#include "run/bill.h"

/* One process of a run. */
typedef struct BillRun
{
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

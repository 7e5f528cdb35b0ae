/*
 * shared.h
 *		The memory that launcher, schedulers, runners and sessions share; private to
 *		shared.c and slots.c.
 */
#ifndef BILLING_WORKER_SHARED_H
#define BILLING_WORKER_SHARED_H

#include "storage/lwlock.h"
#include "worker/worker.h"

/* A database with a scheduler, or that shall have one, or that is held. */
typedef struct SchedulerSlot
{
	Oid			database;		/* InvalidOid: free */
	pid_t		pid;			/* 0: no scheduler */
	Latch	   *latch;
	bool		serving;		/* it has found books that it serves */
	bool		woken;			/* something changed since it last looked */
	bool		waiting;		/* it waits until a runner ends */
	SchedulerWish wish;
	int			holds;			/* commands that need the database for themselves */
} SchedulerSlot;

typedef struct RunnerSlot
{
	RunnerState state;
	Oid			database;
	uint32		cookie;			/* of the reservation */
	pid_t		scheduler;		/* 0: gone */
	pid_t		pid;			/* 0: not started, or gone */
} RunnerSlot;

typedef struct WorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher;		/* NULL: none */
	bool		look_everywhere;	/* a wish did not find room */
	uint32		cookie;
	int			nschedulers;
	int			nrunners;
	RunnerSlot *runners;
	SchedulerSlot schedulers[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

extern WorkerShared *shared;

extern SchedulerSlot *slot_of(Oid database, bool make);
extern void slot_tidy(SchedulerSlot *slot);
extern void wake_launcher(void);

#endif							/* BILLING_WORKER_SHARED_H */

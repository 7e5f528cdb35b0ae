/*
 * orders.h
 *		What the leader of a bill run tells its workers, and how they answer.
 */
#ifndef BILLING_RUN_ORDERS_H
#define BILLING_RUN_ORDERS_H

#include "storage/dsm.h"

#include "run/work.h"

#define FAILURE_TEXT 1024

/* The error that ended a worker, its texts cut where they are longer. */
typedef struct WorkerFailure
{
	int			sqlerrcode;		/* 0: none did */
	char		message[FAILURE_TEXT];
	char		detail[FAILURE_TEXT];
	char		hint[FAILURE_TEXT];
	char		context[FAILURE_TEXT];
} WorkerFailure;

/* The shared segment; behind its failures, one per worker, lie entity and settings. */
typedef struct Orders
{
	Oid			database;
	Oid			authenticated_user;
	Oid			session_user;
	Oid			caller;
	bool		session_is_superuser;
	bool		finalize;
	bool		dismissed;		/* the leader ended workers that had not begun */
	int			batch_size;
	int			workers;
	int64		run_id;
	int64		spread;
	TimestampTz at;
	Size		length;			/* of the text */
	WorkerFailure failures[FLEXIBLE_ARRAY_MEMBER];
} Orders;

extern dsm_segment *orders_write(const BillRun *run, int workers);
extern BillRun *orders_take(const Orders *orders, MemoryContext memory);
extern void orders_take_settings(const Orders *orders);
extern void orders_leave_failure(Orders *orders, int worker, const ErrorData *error);
extern int	orders_report_failures(const Orders *orders);

#endif							/* BILLING_RUN_ORDERS_H */

/*
 * emit.h
 *		Writing events: one from SQL, or those of many accounts at once.
 */
#ifndef BILLING_EMIT_H
#define BILLING_EMIT_H

#include "datatype/timestamp.h"
#include "lib/spi.h"

#define MAX_EVENT_TYPES 4

/* Events of accounts that the transaction has locked, to be written with one statement. */
typedef struct EventLog
{
	const char *const *types;	/* those that the caller may write */
	int			ntypes;
	bool		kept[MAX_EVENT_TYPES];
	int32		adoption_number;
	bool		has_consumers;
	Rows		rows;
} EventLog;

extern void events_open(EventLog *log, const char *const *types, int ntypes);
extern void events_put(EventLog *log, int type, int64 account_id, int64 event_no, int64 invoice_id,
					   TimestampTz occurred_at, Datum payload);
extern void events_write(EventLog *log);

#endif							/* BILLING_EMIT_H */

/*
 * timeline.h
 *		Rows of the timeline while they are put together.
 */
#ifndef BILLING_RUN_TIMELINE_H
#define BILLING_RUN_TIMELINE_H

#include "run/keyed_rows.h"

/* A row of item_version; what it does not name is NULL. */
typedef struct TermsRow
{
	int64		item_id;
	int			version;
	Terms		terms;
	Jsonb	   *scheme;			/* of this customer instead of the price's */
} TermsRow;

/* A time without service. */
typedef struct Interruption
{
	int64		subscription_id;
	TimestampTz from;
	TimestampTz to;				/* DT_NOEND: open */
} Interruption;

extern KeyedRows load_calendars(const AccountBatch *batch, const RunContext *run);
extern KeyedRows load_item_terms(const AccountBatch *batch, RunContext *run);
extern KeyedRows load_interruptions(const AccountBatch *batch, const RunContext *run);
extern bool take_terms(RunContext *run, const KeyedRows *rows, SubscriptionItem *item);
extern bool interrupt_terms(const KeyedRows *interruptions, SubscriptionItem *item);

#endif							/* BILLING_RUN_TIMELINE_H */

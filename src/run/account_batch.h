/*
 * account_batch.h
 *		The accounts of a batch: loaded from the books, then computed.
 */
#ifndef BILLING_ACCOUNT_BATCH_H
#define BILLING_ACCOUNT_BATCH_H

#include "invoice/document.h"
#include "run/context.h"

/*
 * An item that ended may be due up to a month later; so long it is loaded.
 * One in arrears whose price ignores an end is due when its period ends.
 */
#define LATE_DUE (62 * USECS_PER_DAY)

/* A draft that the batch replaces; its id is used again. */
typedef struct Draft
{
	int64		id;
	bool		credit_note;
	bool		taken;
	TimestampTz due;
	TimestampTz finalize_after; /* DT_NOEND: not known */
	char	   *scope;
	char	   *billing_group;
} Draft;

/* A line that charged a range further, after the line that charged it first; where people gave something back also that one. */
typedef struct AddedLine
{
	int64		item_id;
	ChargeKind	kind;
	int64		ordinal;
	TimestampTz start;			/* of the range */
	int			version;		/* of its key */
	int64		period_no;
	bool		first;			/* it charged the range first */
	char	   *tax_category;
	Numeric		tax_rate;
	bool		tax_inclusive;
	int64		invoice_id;
	int			line_no;
	int64		holds;			/* of its amount was not given back */
} AddedLine;

typedef struct BatchAccount
{
	AccountTerms terms;
	int64		next_ordinal;
	TimestampTz billed_through; /* DT_NOBEGIN: never */
	TimestampTz recompute_from; /* DT_NOEND: nothing was edited */
	bool		has_credit;		/* payments or credit notes that are not used up */
	int64		event_no;		/* events so far */
	Window		window;
	Subscription *subs;
	int			nsubs;
	LiveCharge *live;
	int			nlive;
	AddedLine  *added;			/* by item, the latest first */
	int			nadded;
	CorrectionHistory history;
	Draft	   *drafts;
	int			ndrafts;
	PieceList	pieces;
	DeltaList	deltas;
	DocumentList documents;
} BatchAccount;

/* Ranges of consecutive account ids: bigint[] of first and last ids, and of the places of the first ones. */
typedef struct AccountRanges
{
	Datum		lows;
	Datum		highs;
	Datum		places;			/* from 1 */
} AccountRanges;

typedef struct AccountBatch
{
	BatchAccount *accounts;		/* by account id */
	int			count;
	int64	   *ids;
	Datum		id_array;		/* bigint[] of ids */
	AccountRanges ranges;		/* the same as ranges of consecutive ids */
	Jsonb	   *overlay;		/* edits of the timeline, taken as made: rows by table; NULL: none */
} AccountBatch;

/*
 * The rows x of a table that belong to the batch: $1 and $2 are its ranges.
 * OFFSET keeps the planner from joining: each range is looked up in the key.
 */
#define OF_BATCH(table, condition) \
	" FROM unnest($1, $2) r (low, high), LATERAL (SELECT * FROM billing." table " t" \
	" WHERE t.account_id BETWEEN r.low AND r.high" condition " OFFSET 0) x"

extern AccountRanges account_ranges(const int64 *ids, int count);
extern void batch_accept_states(AccountBatch *batch);
extern void batch_load(AccountBatch *batch, RunContext *run, TimestampTz at);
extern void batch_load_timelines(AccountBatch *batch, RunContext *run);
extern void batch_load_minimums(AccountBatch *batch, const RunContext *run);
extern void batch_load_discounts(AccountBatch *batch, const RunContext *run);
extern void batch_load_live(AccountBatch *batch, RunContext *run, Datum edited, TimestampTz from);
extern void batch_load_added(AccountBatch *batch, const RunContext *run, Datum edited, TimestampTz from);
extern void split_corrections(BatchAccount *account);
extern void batch_load_uses(AccountBatch *batch, const RunContext *run, Datum *keys);
extern int	rows_of_account(int row, int count);
extern int64 query_amount(int row, int column, int minor_units);
extern void batch_load_usage(AccountBatch *batch, const RunContext *run);
extern void split_pieces(BatchAccount *account, const TaxTable *taxes);
extern void batch_compare(AccountBatch *batch, RunContext *run);
extern void batch_document(AccountBatch *batch, RunContext *run, TimestampTz at);
extern TimestampTz account_next_due(const BatchAccount *account);
extern BatchAccount *batch_find(AccountBatch *batch, int64 account_id);

#endif							/* BILLING_ACCOUNT_BATCH_H */

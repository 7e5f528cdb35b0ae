/*
 * bill.c
 *		Billing a set of accounts in the current transaction.
 *
 * Lock, load, compute, write, number, remember: the one path by which runs,
 * bill_account() and finalize_invoice() make documents.  The caller is the
 * owner of the books, connected to SPI, in a context that it resets.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "billing.h"
#include "invoice/batch.h"
#include "lib/errors.h"
#include "lib/spi.h"
#include "run/bill.h"

/*
 * Locks the accounts that still have something to do, in ascending order, and
 * reads their states.  Others hold some: they are waited for or left out.
 */
static void
lock_accounts(AccountBatch *batch, int64 *ids, int count, const BillOptions *options)
{
#define LOCK_TEXT(locked) "SELECT x.* FROM unnest($1, $2) r (low, high), LATERAL (" \
	"SELECT s.account_id, s.next_ordinal, s.billed_through, s.recompute_from, s.event_no, s.has_credit" \
	" FROM billing.account_state s" \
	" WHERE s.account_id BETWEEN r.low AND r.high AND (s.next_due <= $3 OR s.recompute_from IS NOT NULL OR $4)" \
	" ORDER BY s.account_id FOR NO KEY UPDATE " locked ") x ORDER BY x.account_id"
#define LOCK_TYPES .nargs = 4, .argtypes = {INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, BOOLOID}
	static SpiQuery wait = {.text = LOCK_TEXT(""), LOCK_TYPES};
	static SpiQuery skip = {.text = LOCK_TEXT("SKIP LOCKED"), LOCK_TYPES};
	AccountRanges ranges = account_ranges(ids, count);
	Datum		values[4] = {ranges.lows, ranges.highs, TimestampTzGetDatum(options->at),
	BoolGetDatum(options->only_invoice != 0 || options->on_demand)};

	(void) query_run(options->wait ? &wait : &skip, values, NULL, false);
	batch_accept_states(batch);
}

/* Notes which of the accounts are not in the batch: held by others, or no longer due. */
static void
note_skipped(const AccountBatch *batch, const int64 *ids, int count, BillResult *result)
{
	int			taken = 0;

	if (batch->count == count)
		return;
	result->skipped = palloc(sizeof(int64) * count);
	for (int i = 0; i < count; i++)
	{
		if (taken < batch->count && batch->ids[taken] == ids[i])
			taken++;
		else
			result->skipped[result->nskipped++] = ids[i];
	}
}

/* Takes drafts and what they carry away; they are made again. */
static void
delete_drafts(const AccountBatch *batch)
{
	static SpiQuery deletes[] = {
		{.text = "DELETE FROM billing.charge WHERE account_id = $1 AND invoice_id = $2", .nargs = 2, .argtypes = {INT8OID, INT8OID}},
		{.text = "DELETE FROM billing.discount_use WHERE account_id = $1 AND invoice_id = $2", .nargs = 2, .argtypes = {INT8OID, INT8OID}},
		{.text = "DELETE FROM billing.invoice_tax WHERE account_id = $1 AND invoice_id = $2", .nargs = 2, .argtypes = {INT8OID, INT8OID}},
		{.text = "DELETE FROM billing.invoice_line WHERE account_id = $1 AND invoice_id = $2", .nargs = 2, .argtypes = {INT8OID, INT8OID}},
		{.text = "DELETE FROM billing.invoice_header WHERE account_id = $1 AND id = $2", .nargs = 2, .argtypes = {INT8OID, INT8OID}}
	};

	for (int i = 0; i < batch->count; i++)
		for (int d = 0; d < batch->accounts[i].ndrafts; d++)
		{
			Datum		key[2] = {Int64GetDatum(batch->ids[i]), Int64GetDatum(batch->accounts[i].drafts[d].id)};

			for (int k = 0; k < (int) lengthof(deletes); k++)
				(void) query_run(&deletes[k], key, NULL, false);
		}
}

/* Is the document finished now, or (again) a draft?  What is invoiced at once has no grace. */
static bool
finishes(const BatchAccount *account, const Document *document, const BillOptions *options)
{
	if (!options->finalize || options->only_invoice != 0)
		return options->finalize && options->only_invoice == document->id;
	return options->on_demand || document->finalize_after <= options->at ||
		(options->at_once && document->due >= account->window.horizon);
}

/* A revision that a document holds. */
typedef struct HeldRevision
{
	int64		item_id;
	TimestampTz start;
	int			revision;
} HeldRevision;

/* By range, then by revision, the latest first. */
static int
compare_revisions(const void *a, const void *b)
{
	const HeldRevision *x = a;
	const HeldRevision *y = b;

	if (x->item_id != y->item_id)
		return x->item_id < y->item_id ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return y->revision - x->revision;
}

/* The revisions of a document in order; palloc'd. */
static HeldRevision *
held_revisions(const Document *document, int *count)
{
	HeldRevision *held;
	int			total = 0;

	for (int i = 0; i < document->nlines; i++)
		total += document->lines[i].delta->nrows;
	held = palloc(sizeof(HeldRevision) * Max(total, 1));
	*count = 0;
	for (int i = 0; i < document->nlines; i++)
		for (int k = 0; k < document->lines[i].delta->nrows; k++)
		{
			const Delta *delta = document->lines[i].delta;

			held[(*count)++] = (HeldRevision)
			{
				.item_id = delta->item_id, .start = delta->rows[k].start, .revision = delta->rows[k].revision
			};
		}
	qsort(held, total, sizeof(HeldRevision), compare_revisions);
	return held;
}

/* Does the document hold an earlier revision of a range than the other? */
static bool
goes_before(const Document *document, const Document *other)
{
	int			nearlier,
				nlater;
	const HeldRevision *earlier = held_revisions(document, &nearlier);
	const HeldRevision *later = held_revisions(other, &nlater);

	for (int i = 0, k = 0; i < nearlier; i++)
	{
		while (k < nlater && (later[k].item_id < earlier[i].item_id ||
							  (later[k].item_id == earlier[i].item_id && later[k].start < earlier[i].start)))
			k++;
		/* The first of a range is its latest revision. */
		if (k < nlater && later[k].item_id == earlier[i].item_id && later[k].start == earlier[i].start &&
			earlier[i].revision < later[k].revision)
			return true;
	}
	return false;
}

/*
 * Decides which documents of an account are finished.  A draft goes along where
 * a finished document builds on what it corrects, or that would be lost with it.
 */
static void
decide_finish(BatchAccount *account, const BillOptions *options)
{
	Document   *documents = account->documents.documents;
	int			count = account->documents.count;
	bool		more = false;

	for (int i = 0; i < count; i++)
	{
		documents[i].finish = finishes(account, &documents[i], options);
		more = more || documents[i].finish;
	}
	while (more)
	{
		more = false;
		for (int i = 0; i < count; i++)
			for (int k = 0; k < count && !documents[i].finish; k++)
				if (documents[k].finish && goes_before(&documents[i], &documents[k]))
					documents[i].finish = more = true;
	}
}

/*
 * From where the next run must compare again: differences that wait for a
 * later document, what was charged before it was due, and drafts, which every
 * run makes anew.
 */
static TimestampTz
still_to_compare(const BatchAccount *account)
{
	TimestampTz from = Min(account->deltas.postponed ? account->window.recompute_from : DT_NOEND,
						   account->deltas.early_from);

	for (int i = 0; i < account->documents.count; i++)
		if (!account->documents.documents[i].finish)
			from = Min(from, account->documents.documents[i].period_start);
	return from;
}

/* When the account has something to charge or a draft to finish next; DT_NOEND: never. */
static TimestampTz
next_due(const BatchAccount *account)
{
	TimestampTz next = account_next_due(account);

	for (int i = 0; i < account->documents.count; i++)
	{
		const Document *document = &account->documents.documents[i];

		if (!document->finish && document->finalize_after != DT_NOBEGIN)
			next = Min(next, document->finalize_after);
	}
	return next;
}

/* timestamptz[] of the values. */
static Datum
array_of_instants(const TimestampTz *values, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		elements[i] = TimestampTzGetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, count, TIMESTAMPTZOID, sizeof(TimestampTz),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Remembers what was billed and when the next is due.  By ranges of accounts,
 * whose values stand side by side in the arrays: joined to a row for each
 * account, they would be looked up one by one, or a table of some ten thousand
 * be read whole for every batch.
 */
static void
store_states(const AccountBatch *batch)
{
#define OF_ACCOUNT "[r.place + s.account_id - r.low]"
	static SpiQuery update = {
		.text = "UPDATE billing.account_state s SET next_ordinal = ($4)" OF_ACCOUNT ", billed_through = ($5)" OF_ACCOUNT ","
		" recompute_from = nullif(($6)" OF_ACCOUNT ", 'infinity'), next_due = nullif(($7)" OF_ACCOUNT ", 'infinity'),"
		" event_no = ($8)" OF_ACCOUNT
		" FROM unnest($1, $2, $3) r (low, high, place) WHERE s.account_id BETWEEN r.low AND r.high",
		.nargs = 8,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		TIMESTAMPTZARRAYOID, INT8ARRAYOID}
	};
	int64	   *ordinal = palloc(sizeof(int64) * batch->count);
	TimestampTz *through = palloc(sizeof(TimestampTz) * batch->count);
	TimestampTz *recompute = palloc(sizeof(TimestampTz) * batch->count);
	TimestampTz *due = palloc(sizeof(TimestampTz) * batch->count);
	int64	   *event_no = palloc(sizeof(int64) * batch->count);
	Datum		values[8] = {batch->ranges.lows, batch->ranges.highs, batch->ranges.places};

	for (int i = 0; i < batch->count; i++)
	{
		const BatchAccount *account = &batch->accounts[i];

		ordinal[i] = account->next_ordinal;
		through[i] = account->window.horizon;
		recompute[i] = still_to_compare(account);
		due[i] = next_due(account);
		event_no[i] = account->event_no;
	}
	values[3] = array_of_int64(ordinal, batch->count);
	values[4] = array_of_instants(through, batch->count);
	values[5] = array_of_instants(recompute, batch->count);
	values[6] = array_of_instants(due, batch->count);
	values[7] = array_of_int64(event_no, batch->count);
	(void) query_run(&update, values, NULL, false);
}

/* Writes the documents of a computed batch; what needs the series comes last. */
static void
write_documents(AccountBatch *batch, TimestampTz at, BillResult *result)
{
	DocumentBatch documents;

	batch_open(&documents);
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		for (int k = 0; k < account->documents.count; k++)
		{
			const Document *document = &account->documents.documents[k];

			batch_add(&documents, &account->terms, document, &account->event_no);
			result->invoice_ids[result->ninvoices++] = document->id;
		}
	}
	batch_write(&documents);
	store_states(batch);
	batch_allocate(&documents, at);
	batch_seal(&documents, at);
}

/* Does a credit note of the account hold more than what it is set off against? */
static bool
leaves_credit(const BatchAccount *account)
{
	for (int i = 0; i < account->documents.count; i++)
	{
		const Document *document = &account->documents.documents[i];
		int64		rest = document->net + document->tax + document->rounding;

		if (!document->finish || !document->credit_note)
			continue;
		for (int k = 0; k < document->nallocations; k++)
			rest -= document->allocations[k].amount;
		if (rest > 0)
			return true;
	}
	return false;
}

/* Customer credit pays what the batch has billed. */
static void
use_credit(const AccountBatch *batch, TimestampTz at)
{
	static SpiQuery query = {
		.text = "SELECT billing_internal.use_credit($1, $2)", .nargs = 2, .argtypes = {INT8OID, TIMESTAMPTZOID}
	};

	for (int i = 0; i < batch->count; i++)
	{
		Datum		values[2] = {Int64GetDatum(batch->ids[i]), TimestampTzGetDatum(at)};

		if (batch->accounts[i].has_credit || leaves_credit(&batch->accounts[i]))
			(void) query_run(&query, values, NULL, false);
	}
}

/* The customers learn of what the batch finished, where their sellers have texts for it. */
static void
notify_issued(const BillResult *result, TimestampTz at)
{
	static SpiQuery query = {
		.text = "SELECT billing_internal.notify_issued($1, $2)", .nargs = 2, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {array_of_int64(result->invoice_ids, result->ninvoices), TimestampTzGetDatum(at)};

	if (result->ninvoices > 0)
		(void) query_run(&query, values, NULL, false);
}

static int
count_documents(const AccountBatch *batch)
{
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
		count += batch->accounts[i].documents.count;
	return count;
}

/*
 * Bills those of the accounts (ascending) that are due at options->at or were
 * edited, and fills the result.  Everything is palloc'd in the current context.
 */
void
bill_accounts(RunContext *run, int64 *ids, int count, const BillOptions *options, BillResult *result)
{
	AccountBatch batch;

	lock_accounts(&batch, ids, count, options);
	note_skipped(&batch, ids, count, result);
	result->accounts = batch.count;
	if (batch.count == 0)
		return;
	batch_load(&batch, run, options->only_invoice != 0 ? DT_NOBEGIN : options->at);
	for (int i = 0; i < batch.count; i++)
	{
		batch.accounts[i].window.at_once = batch.accounts[i].window.early = options->at_once;
		batch.accounts[i].window.accrue = options->accrue;
	}
	batch_compare(&batch, run);
	batch_document(&batch, run, options->at);
	for (int i = 0; i < batch.count; i++)
		decide_finish(&batch.accounts[i], options);
	result->invoice_ids = palloc(sizeof(int64) * Max(count_documents(&batch), 1));
	delete_drafts(&batch);
	write_documents(&batch, options->at, result);
	use_credit(&batch, options->at);
	notify_issued(result, options->at);
}

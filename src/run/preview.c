/*
 * preview.c
 *		What a run would write, without the writer.
 *
 * The same load and compute as a run, on one snapshot and without a lock: it
 * works in a read-only transaction and on a standby.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "invoice/line.h"
#include "lib/amount.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"
#include "run/bill.h"

#define REPORT_BATCH 1000

PG_FUNCTION_INFO_V1(billing_preview);
PG_FUNCTION_INFO_V1(billing_unbilled_on);
PG_FUNCTION_INFO_V1(billing_recompute);
PG_FUNCTION_INFO_V1(billing_next_dues);

/* How a report looks at its accounts. */
typedef struct Report
{
	ReturnSetInfo *rsinfo;
	RunContext *run;
	TimestampTz at;
	Accrual		accrue;			/* arrears in progress that count so far */
	bool		deep;			/* compare everything that was billed */
	void		(*put) (struct Report *report, AccountBatch *batch);
} Report;

/* Loads and computes the accounts of the last statement's states. */
static void
report_states(Report *report)
{
	AccountBatch batch;

	batch_accept_states(&batch);
	if (batch.count == 0)
		return;
	for (int i = 0; report->deep && i < batch.count; i++)
		batch.accounts[i].recompute_from = DT_NOBEGIN;
	batch_load(&batch, report->run, report->at);
	for (int i = 0; i < batch.count; i++)
	{
		batch.accounts[i].window.accrue = report->accrue;
		batch.accounts[i].window.at_once = report->accrue != ACCRUE_NOTHING || report->deep;
	}
	batch_compare(&batch, report->run);
	report->put(report, &batch);
}

/* One account; unknown_account where there is none. */
static void
report_account(Report *report, int64 account_id)
{
	static SpiQuery query = {
		.text = "SELECT account_id, next_ordinal, billed_through, recompute_from FROM billing.account_state WHERE account_id = $1",
		.nargs = 1, .argtypes = {INT8OID}
	};

	if (query_run1(&query, true, Int64GetDatum(account_id)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_ACCOUNT),
				 errmsg("account " INT64_FORMAT " does not exist", account_id)));
	report_states(report);
}

/* All accounts, batch by batch. */
static void
report_all(Report *report)
{
	static SpiQuery query = {
		.text = "SELECT account_id, next_ordinal, billed_through, recompute_from FROM billing.account_state"
		" WHERE account_id > $1 AND (recompute_from IS NULL OR NOT $2) ORDER BY account_id LIMIT $3",
		.nargs = 3, .argtypes = {INT8OID, BOOLOID, INT4OID}
	};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "billing report", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	int64		last = 0;

	for (;;)
	{
		Datum		values[3] = {Int64GetDatum(last), BoolGetDatum(report->deep), Int32GetDatum(REPORT_BATCH)};
		uint64		count;

		CHECK_FOR_INTERRUPTS();
		/* A connection of its own, since what it publishes lives in the batch's context. */
		SPI_connect();
		MemoryContextSwitchTo(batch);
		count = query_run(&query, values, NULL, true);
		if (count > 0)
		{
			last = query_int64((int) count - 1, 1, 0);
			report_states(report);
		}
		SPI_finish();
		MemoryContextReset(batch);
		if (count == 0)
			break;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
}

/* One row of a result being filled column by column. */
typedef struct ResultRow
{
	Datum		values[24];
	bool		nulls[24];
	int			count;
} ResultRow;

static void
add(ResultRow *row, Datum value, bool isnull)
{
	row->values[row->count] = value;
	row->nulls[row->count++] = isnull;
}

static void
add_money(ResultRow *row, int64 amount, const BatchAccount *account)
{
	add(row, NumericGetDatum(amount_numeric(amount, account->terms.minor_units)), false);
}

/* Columns of a line that reports show, in their order. */
static const LineColumn shown[] = {
	LINE_line_no, LINE_nature, LINE_subscription_id, LINE_item_id, LINE_price, LINE_description, LINE_quantity,
	LINE_unit_amount, LINE_amount, LINE_net_amount, LINE_tax_category, LINE_tax_rate, LINE_period_start, LINE_period_end
};

static void
add_line(ResultRow *row, const BatchAccount *account, const Document *document, int line_no)
{
	Datum		values[LINE_COUNT];
	bool		nulls[LINE_COUNT];

	line_row(&account->terms, document, line_no, values, nulls);
	for (int i = 0; i < (int) lengthof(shown); i++)
		add(row, values[shown[i]], nulls[shown[i]]);
}

/* Rows of billing.preview(). */
static void
put_preview(Report *report, AccountBatch *batch)
{
	BatchAccount *account = &batch->accounts[0];

	batch_document(batch, report->run, report->at);
	for (int d = 0; d < account->documents.count; d++)
	{
		const Document *document = &account->documents.documents[d];

		for (int line_no = 1; line_no <= document->nlines; line_no++)
		{
			ResultRow	row = {.count = 0};

			add(&row, Int32GetDatum(d + 1), false);
			add(&row, CStringGetTextDatum(document->credit_note ? "credit_note" : "invoice"), false);
			add(&row, TimestampTzGetDatum(document->due), false);
			add(&row, CStringGetTextDatum(account->terms.currency), false);
			add_line(&row, account, document, line_no);
			add_money(&row, document->net, account);
			add_money(&row, document->tax, account);
			add_money(&row, document->net + document->tax, account);
			tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, row.values, row.nulls);
		}
	}
}

static void
put_unbilled_account(Report *report, const BatchAccount *account)
{
	for (int i = 0; i < account->deltas.count; i++)
	{
		const Delta *delta = &account->deltas.deltas[i];
		ResultRow	row = {.count = 0};

		add(&row, Int64GetDatum(account->terms.account_id), false);
		add(&row, Int64GetDatum(delta->subscription_id), false);
		add(&row, Int64GetDatum(delta->item_id), false);
		add(&row, CStringGetTextDatum(delta->price->code), false);
		add(&row, CStringGetTextDatum(delta->correction ? "correction" : "charge"), false);
		add(&row, delta->quantity ? NumericGetDatum(delta->quantity) : (Datum) 0, delta->quantity == NULL);
		add(&row, CStringGetTextDatum(account->terms.currency), false);
		add_money(&row, delta->money.amount, account);
		add(&row, BoolGetDatum(delta->price->tax_inclusive), false);
		add(&row, TimestampTzGetDatum(delta->start), false);
		add(&row, TimestampTzGetDatum(delta->end), false);
		tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, row.values, row.nulls);
	}
}

/* Rows of billing.unbilled_on(). */
static void
put_unbilled(Report *report, AccountBatch *batch)
{
	for (int i = 0; i < batch->count; i++)
		put_unbilled_account(report, &batch->accounts[i]);
}

static void
put_difference_account(Report *report, const BatchAccount *account)
{
	for (int i = 0; i < account->deltas.count; i++)
	{
		const Delta *delta = &account->deltas.deltas[i];
		ResultRow	row = {.count = 0};

		add(&row, Int64GetDatum(account->terms.account_id), false);
		add(&row, Int64GetDatum(delta->item_id), false);
		add(&row, TimestampTzGetDatum(delta->start), false);
		add_money(&row, delta->live ? delta->live->money.amount : 0, account);
		add_money(&row, (delta->live ? delta->live->money.amount : 0) + delta->money.amount, account);
		tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, row.values, row.nulls);
	}
}

/* Rows of billing_internal.recompute(): what differs although nothing was edited. */
static void
put_difference(Report *report, AccountBatch *batch)
{
	for (int i = 0; i < batch->count; i++)
		put_difference_account(report, &batch->accounts[i]);
}

/* Rows of billing_internal.next_dues(). */
static void
put_next_due(Report *report, AccountBatch *batch)
{
	for (int i = 0; i < batch->count; i++)
	{
		const BatchAccount *account = &batch->accounts[i];
		TimestampTz next_due = account_next_due(account);
		ResultRow	row = {.count = 0};

		for (int d = 0; d < account->ndrafts; d++)
			next_due = Min(next_due, account->drafts[d].finalize_after);
		if (next_due == DT_NOEND)
			continue;
		add(&row, Int64GetDatum(account->terms.account_id), false);
		add(&row, TimestampTzGetDatum(next_due), false);
		tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, row.values, row.nulls);
	}
}

/* Runs a report as a reader of the books, for one account (0: all). */
static void
run_report(FunctionCallInfo fcinfo, Report *report, AccessKind kind, int64 account_id)
{
	BooksScope	scope;

	InitMaterializedSRF(fcinfo, 0);
	report->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPI_connect();
	books_become_owner(&scope);
	books_check(false);
	books_authorize(&scope, kind, account_id, NULL);
	report->run = run_context_create(CurrentMemoryContext, true);
	if (account_id != 0)
		report_account(report, account_id);
	else
		report_all(report);
	books_leave(&scope);
	SPI_finish();
}

static TimestampTz
moment(FunctionCallInfo fcinfo, int arg)
{
	TimestampTz at = PG_ARGISNULL(arg) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(arg);

	check_instant(at, "at");
	return at;
}

/* billing.preview(account_id, at): the lines that billing the account at a moment would write. */
Datum
billing_preview(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_preview, .at = moment(fcinfo, 1)};

	if (PG_ARGISNULL(0) || PG_GETARG_INT64(0) < 1)
		ereport(ERROR,
				(errcode(PG_ARGISNULL(0) ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_BILLING_UNKNOWN_ACCOUNT),
				 errmsg("account_id of preview() must be the id of an account")));
	run_report(fcinfo, &report, ACCESS_APPLICATION, PG_GETARG_INT64(0));
	return (Datum) 0;
}

/* billing.unbilled_on(at): what all accounts owe so far that no document holds. */
Datum
billing_unbilled_on(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_unbilled, .at = moment(fcinfo, 0), .accrue = ACCRUE_ARREARS};

	run_report(fcinfo, &report, ACCESS_READER, 0);
	return (Datum) 0;
}

/* billing_internal.recompute(): differences of everything billed, for check(deep => true). */
Datum
billing_recompute(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_difference, .at = DT_NOBEGIN, .deep = true};

	run_report(fcinfo, &report, ACCESS_READER, 0);
	return (Datum) 0;
}

/* billing_internal.next_dues(): when accounts become due after what was billed, for check(). */
Datum
billing_next_dues(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_next_due, .at = DT_NOBEGIN};

	run_report(fcinfo, &report, ACCESS_READER, 0);
	return (Datum) 0;
}

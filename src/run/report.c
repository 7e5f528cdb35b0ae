/*
 * report.c
 *		What accounts owe, without the writer.
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

#include "compat.h"
#include "lib/amount.h"
#include "lib/errors.h"
#include "lib/spi.h"
#include "run/report.h"

#define REPORT_BATCH 1000

PG_FUNCTION_INFO_V1(billing_unbilled_on);
PG_FUNCTION_INFO_V1(billing_recompute);
PG_FUNCTION_INFO_V1(billing_next_dues);

/* Computes the differences of accounts that were just loaded, as of report->at. */
void
report_compute(const Report *report, AccountBatch *batch)
{
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		account->window.horizon = Max(report->at, account->billed_through);
		account->window.accrue = report->accrue;
		account->window.at_once = report->at_once || report->accrue != ACCRUE_NOTHING || report->deep;
		account->window.early = report->at_once;
	}
	batch_compare(batch, report->run);
}

/* Loads and reports on the accounts of the last statement's states. */
static void
report_states(Report *report)
{
	AccountBatch batch;

	batch_accept_states(&batch);
	if (batch.count == 0)
		return;
	batch.overlay = report->edits;
	for (int i = 0; i < batch.count; i++)
	{
		BatchAccount *account = &batch.accounts[i];

		if (report->deep)
			account->recompute_from = DT_NOBEGIN;
		else if (report->edits != NULL && account->billed_through != DT_NOBEGIN)
			account->recompute_from = Min(account->recompute_from, report->changed_from);
	}
	batch_load(&batch, report->run, report->at);
	report->put(report, &batch);
}

/* One account; unknown_account where there is none. */
void
report_account(Report *report, int64 account_id)
{
	static SpiQuery query = {
		.text = "SELECT account_id, next_ordinal, billed_through, recompute_from, event_no, has_credit FROM billing.account_state WHERE account_id = $1",
		.nargs = 1, .argtypes = {INT8OID}
	};

	if (query_run1(&query, true, Int64GetDatum(account_id)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_ACCOUNT),
				 errmsg("account " INT64_FORMAT " does not exist", account_id)));
	report_states(report);
}

/* All accounts that the caller may see, batch by batch. */
static void
report_all(Report *report)
{
	static SpiQuery query = {
		.text = "SELECT account_id, next_ordinal, billed_through, recompute_from, event_no, has_credit FROM billing.account_state"
		" WHERE account_id > $1 AND (recompute_from IS NULL OR NOT $2) AND (entity = ANY ($4) OR $4 IS NULL)"
		" ORDER BY account_id LIMIT $3",
		.nargs = 4, .argtypes = {INT8OID, BOOLOID, INT4OID, TEXTARRAYOID}
	};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "billing report", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	int64		last = 0;

	for (;;)
	{
		Datum		values[4] = {Int64GetDatum(last), BoolGetDatum(report->deep), Int32GetDatum(REPORT_BATCH), report->entities};
		uint64		count;

		CHECK_FOR_INTERRUPTS();
		/* A connection of its own, since what it publishes lives in the batch's context. */
		SPI_connect();
		MemoryContextSwitchTo(batch);
		count = query_run(&query, values, report->all_entities ? "   n" : NULL, true);
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

/* Adds a column. */
void
result_add(ResultRow *row, Datum value, bool isnull)
{
	row->values[row->count] = value;
	row->nulls[row->count++] = isnull;
}

/* Adds an amount in the account's currency. */
void
result_add_money(ResultRow *row, int64 amount, const BatchAccount *account)
{
	result_add(row, NumericGetDatum(amount_numeric(amount, account->terms.minor_units)), false);
}

/* Adds the row to the report's result. */
void
result_put(const Report *report, ResultRow *row)
{
	tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, row->values, row->nulls);
}

/* Puts a row for each difference of an account. */
static void
put_unbilled_account(const Report *report, const BatchAccount *account)
{
	for (int i = 0; i < account->deltas.count; i++)
	{
		const Delta *delta = &account->deltas.deltas[i];
		ResultRow	row = {.count = 0};

		result_add(&row, Int64GetDatum(account->terms.account_id), false);
		result_add(&row, Int64GetDatum(delta->subscription_id), false);
		result_add(&row, Int64GetDatum(delta->item_id), false);
		result_add(&row, delta->price->code ? CStringGetTextDatum(delta->price->code) : (Datum) 0, delta->price->code == NULL);
		result_add(&row, CStringGetTextDatum(delta->correction ? "correction" : "charge"), false);
		result_add(&row, delta->quantity ? NumericGetDatum(delta->quantity) : (Datum) 0, delta->quantity == NULL);
		result_add(&row, CStringGetTextDatum(account->terms.currency), false);
		result_add_money(&row, delta->money.amount, account);
		result_add(&row, BoolGetDatum(delta->price->tax_inclusive), false);
		result_add(&row, TimestampTzGetDatum(delta->start), false);
		result_add(&row, TimestampTzGetDatum(delta->end), false);
		result_put(report, &row);
	}
}

/* Rows of billing.unbilled_on(). */
static void
put_unbilled(Report *report, AccountBatch *batch)
{
	report_compute(report, batch);
	for (int i = 0; i < batch->count; i++)
		put_unbilled_account(report, &batch->accounts[i]);
}

/* Puts what is charged and what should be, for each range of an account where they differ. */
static void
put_difference_account(const Report *report, const BatchAccount *account)
{
	for (int i = 0; i < account->deltas.count; i++)
	{
		const Delta *delta = &account->deltas.deltas[i];
		ResultRow	row = {.count = 0};

		result_add(&row, Int64GetDatum(account->terms.account_id), false);
		result_add(&row, Int64GetDatum(delta->item_id), false);
		result_add(&row, TimestampTzGetDatum(delta->start), false);
		result_add_money(&row, delta->live ? delta->live->money.amount : 0, account);
		result_add_money(&row, (delta->live ? delta->live->money.amount : 0) + delta->money.amount, account);
		result_put(report, &row);
	}
}

/* Rows of billing_internal.recompute(): what differs although nothing was edited. */
static void
put_difference(Report *report, AccountBatch *batch)
{
	report_compute(report, batch);
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
		result_add(&row, Int64GetDatum(account->terms.account_id), false);
		result_add(&row, TimestampTzGetDatum(next_due), false);
		result_put(report, &row);
	}
}

/* Opens the books for a report as of one snapshot, on one account (0: all). */
void
report_open(FunctionCallInfo fcinfo, Report *report, AccessKind kind, int64 account_id, BooksScope *scope)
{
	InitMaterializedSRF(fcinfo, 0);
	report->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPI_connect();
	books_become_owner(scope);
	books_check(false);
	if (account_id == 0)
		report->entities = books_entities(scope, kind, &report->all_entities);
	else
		books_authorize(scope, kind, account_id, NULL);
	report->run = run_context_create(CurrentMemoryContext, true);
}

/* Closes the books. */
void
report_close(BooksScope *scope)
{
	books_leave(scope);
	SPI_finish();
}

/* The moment that an argument names, now where it is null. */
TimestampTz
report_moment(FunctionCallInfo fcinfo, int arg)
{
	TimestampTz at = PG_ARGISNULL(arg) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(arg);

	check_instant(at, "at");
	return at;
}

/* Runs a report on all accounts. */
static Datum
report_on_all(FunctionCallInfo fcinfo, Report *report)
{
	BooksScope	scope;

	report_open(fcinfo, report, ACCESS_READER, 0, &scope);
	report_all(report);
	report_close(&scope);
	return (Datum) 0;
}

/* billing.unbilled_on(at): what all accounts owe so far that no document holds. */
Datum
billing_unbilled_on(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_unbilled, .at = report_moment(fcinfo, 0), .accrue = ACCRUE_ARREARS};

	return report_on_all(fcinfo, &report);
}

/* billing_internal.recompute(): differences of everything billed, for check(deep => true). */
Datum
billing_recompute(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_difference, .at = DT_NOBEGIN, .deep = true};

	return report_on_all(fcinfo, &report);
}

/* billing_internal.next_dues(): when accounts become due after what was billed, for check(). */
Datum
billing_next_dues(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_next_due, .at = DT_NOBEGIN};

	return report_on_all(fcinfo, &report);
}

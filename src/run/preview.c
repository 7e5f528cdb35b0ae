/*
 * preview.c
 *		What would be invoiced: to an account, for a subscription, after a change.
 *
 * Lines and totals are those that a run would write, made by the same code.  A
 * change is planned by the verb's own planning function and laid over the
 * tables as they are read; nothing is written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "invoice/line.h"
#include "lib/errors.h"
#include "lib/num.h"
#include "lib/spi.h"
#include "run/report.h"

#define MAX_PREVIEWS 1000

PG_FUNCTION_INFO_V1(billing_preview);
PG_FUNCTION_INFO_V1(billing_preview_change);
PG_FUNCTION_INFO_V1(billing_preview_change_cost);
PG_FUNCTION_INFO_V1(billing_preview_invoices);

/* A preview of what happens to one subscription. */
typedef struct SubscriptionPreview
{
	Report		report;			/* first, so that its callback finds the rest */
	int64		subscription_id;
	bool		at_given;		/* else report.at is still to be chosen */
	TimestampTz effective_at;	/* of the change */
	int			wanted;			/* documents */
	int			found;			/* of them within the due instants looked at, */
	int			dues;			/* which are so many */
	bool		more;			/* later due instants may bring more */
	int			sign;			/* of the costs summed up */
	int64		net;
	int64		tax;
	int64		total;
} SubscriptionPreview;

static void put_documents(Report *report, AccountBatch *batch);

/* Columns of a line that previews show, in their order. */
static const LineColumn shown[] = {
	LINE_line_no, LINE_nature, LINE_subscription_id, LINE_item_id, LINE_price, LINE_description, LINE_quantity,
	LINE_unit_amount, LINE_amount, LINE_net_amount, LINE_tax_category, LINE_tax_rate, LINE_period_start, LINE_period_end
};

/*
 * Adds the rows of a document, the document_no-th that is shown.  Where an
 * argument of the call is the subscription, that column is the first.
 */
static void
put_document(const Report *report, const BatchAccount *account, const Document *document, int document_no)
{
	for (int line_no = 1; line_no <= document->nlines; line_no++)
	{
		Datum		values[LINE_COUNT];
		bool		nulls[LINE_COUNT];
		ResultRow	row = {.count = 0};

		line_row(&account->terms, document, line_no, values, nulls);
		if (report->put != put_documents)
			result_add(&row, values[LINE_subscription_id], nulls[LINE_subscription_id]);
		result_add(&row, Int32GetDatum(document_no), false);
		result_add(&row, CStringGetTextDatum(document->credit_note ? "credit_note" : "invoice"), false);
		result_add(&row, TimestampTzGetDatum(document->due), false);
		result_add(&row, CStringGetTextDatum(account->terms.currency), false);
		for (int i = 0; i < (int) lengthof(shown); i++)
			if (shown[i] != LINE_subscription_id || report->put == put_documents)
				result_add(&row, values[shown[i]], nulls[shown[i]]);
		result_add_money(&row, document->net, account);
		result_add_money(&row, document->tax, account);
		result_add_money(&row, document->net + document->tax, account);
		result_put(report, &row);
	}
}

/* Computes the documents and adds the rows of all. */
static void
put_documents(Report *report, AccountBatch *batch)
{
	const BatchAccount *account = &batch->accounts[0];

	report_compute(report, batch);
	batch_document(batch, report->run, report->at);
	for (int d = 0; d < account->documents.count; d++)
		put_document(report, account, &account->documents.documents[d], d + 1);
}

/* billing.preview(account_id, at): the lines that billing the account at a moment would write. */
Datum
billing_preview(PG_FUNCTION_ARGS)
{
	Report		report = {.put = put_documents, .at = report_moment(fcinfo, 1)};
	BooksScope	scope;

	if (PG_ARGISNULL(0) || PG_GETARG_INT64(0) < 1)
		ereport(ERROR,
				(errcode(PG_ARGISNULL(0) ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_BILLING_UNKNOWN_ACCOUNT),
				 errmsg("account_id of preview() must be the id of an account")));
	report_open(fcinfo, &report, ACCESS_APPLICATION, PG_GETARG_INT64(0), &scope);
	report_account(&report, PG_GETARG_INT64(0));
	report_close(&scope);
	return (Datum) 0;
}

/* The subscription of a preview; NULL: it is not billed. */
static const Subscription *
subscription_of(const SubscriptionPreview *preview, const BatchAccount *account)
{
	for (int i = 0; i < account->nsubs; i++)
		if (account->subs[i].id == preview->subscription_id)
			return &account->subs[i];
	return NULL;
}

/* Refuses a null argument. */
static void
check_given(FunctionCallInfo fcinfo, int arg, const char *name, const char *function)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" of %s() must not be null", name, function)));
}

/* Opens the books for the account of a subscription, which may not exist. */
static void
open_preview(FunctionCallInfo fcinfo, SubscriptionPreview *preview, BooksScope *scope)
{
	static SpiQuery query = {
		.text = "SELECT FROM billing.subscription WHERE account_id = $1 AND id = $2",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	Datum		key[2];

	preview->subscription_id = PG_GETARG_INT64(0);
	key[0] = Int64GetDatum(account_of_id(preview->subscription_id));
	key[1] = Int64GetDatum(preview->subscription_id);
	report_open(fcinfo, &preview->report, ACCESS_APPLICATION, account_of_id(preview->subscription_id), scope);
	if (query_run(&query, key, NULL, true) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_SUBSCRIPTION),
				 errmsg("subscription " INT64_FORMAT " does not exist", preview->subscription_id)));
}

/* Plans the change of argument 1, and takes the moment of argument 2. */
static void
plan_change(FunctionCallInfo fcinfo, SubscriptionPreview *preview)
{
	static SpiQuery query = {
		.text = "SELECT e, (e->>'changed_from')::timestamptz, (e->>'effective_at')::timestamptz,"
		" coalesce(($2->>'invoice_now')::boolean, false), ($2->>'effective_at')::timestamptz"
		" FROM billing_internal.plan_change($1, $2) e",
		.nargs = 2, .argtypes = {INT8OID, JSONBOID}
	};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Report	   *report = &preview->report;

	(void) query_run(&query, values, NULL, true);
	report->edits = DatumGetJsonbPCopy(query_value(0, 1));
	report->changed_from = query_int64(0, 2, DT_NOEND);
	report->at_once = DatumGetBool(query_value(0, 4));
	preview->effective_at = query_int64(0, 3, DT_NOEND);
	preview->at_given = report->at_once || !PG_ARGISNULL(2);
	report->at = !PG_ARGISNULL(2) ? report_moment(fcinfo, 2)
		: query_int64(0, 5, GetCurrentTransactionStartTimestamp());
	SPI_freetuptable(SPI_tuptable);
}

/*
 * When the change is invoiced where it is not at once: with the next regular
 * invoice of the subscription from then on, or where none follows within a
 * month, when it takes effect.
 */
static TimestampTz
invoiced_at(const SubscriptionPreview *preview, const BatchAccount *account)
{
	const Interval month = {.month = 1};
	const Subscription *sub = subscription_of(preview, account);
	TimestampTz from = preview->effective_at;
	TimestampTz next = DT_NOEND;

	if (account->window.billed_through != DT_NOBEGIN)
		from = Max(from, account->window.billed_through + 1);
	if (sub != NULL && sub->nitems > 0)
		next = subscription_next_regular(sub, from, instant_after(from, &month, account->terms.entity_tz));
	return next == DT_NOEND ? from : next;
}

static void
choose_moment(SubscriptionPreview *preview, const BatchAccount *account)
{
	if (!preview->at_given)
		preview->report.at = invoiced_at(preview, account);
	preview->at_given = true;
}

/* Rows of billing.preview_change(). */
static void
put_change(Report *report, AccountBatch *batch)
{
	choose_moment((SubscriptionPreview *) report, &batch->accounts[0]);
	put_documents(report, batch);
}

/*
 * billing.preview_change(subscription_id, change, at): the lines that billing the
 * account would write if the change were made.
 */
Datum
billing_preview_change(PG_FUNCTION_ARGS)
{
	SubscriptionPreview preview = {.report.put = put_change};
	BooksScope	scope;

	check_given(fcinfo, 0, "subscription_id", "preview_change");
	check_given(fcinfo, 1, "change", "preview_change");
	open_preview(fcinfo, &preview, &scope);
	plan_change(fcinfo, &preview);
	report_account(&preview.report, account_of_id(preview.subscription_id));
	report_close(&scope);
	return (Datum) 0;
}

/* Sums up what all documents cost; what credit notes give back counts against it. */
static void
sum_costs(Report *report, AccountBatch *batch)
{
	SubscriptionPreview *preview = (SubscriptionPreview *) report;
	const BatchAccount *account = &batch->accounts[0];

	choose_moment(preview, account);
	report_compute(report, batch);
	batch_document(batch, report->run, report->at);
	for (int d = 0; d < account->documents.count; d++)
	{
		const Document *document = &account->documents.documents[d];
		int			sign = document->credit_note ? -preview->sign : preview->sign;

		preview->net += sign * document->net;
		preview->tax += sign * document->tax;
		preview->total += sign * (document->net + document->tax + document->rounding);
	}
	if (preview->sign < 0)
	{
		ResultRow	row = {.count = 0};

		result_add(&row, TimestampTzGetDatum(report->at), false);
		result_add(&row, CStringGetTextDatum(account->terms.currency), false);
		result_add_money(&row, preview->net, account);
		result_add_money(&row, preview->tax, account);
		result_add_money(&row, preview->total, account);
		result_put(report, &row);
	}
}

/*
 * billing.preview_change_cost(subscription_id, change, at): what billing the account
 * would ask for with the change, less what it would without.
 */
Datum
billing_preview_change_cost(PG_FUNCTION_ARGS)
{
	SubscriptionPreview preview = {.report.put = sum_costs, .sign = 1};
	BooksScope	scope;

	check_given(fcinfo, 0, "subscription_id", "preview_change_cost");
	check_given(fcinfo, 1, "change", "preview_change_cost");
	open_preview(fcinfo, &preview, &scope);
	plan_change(fcinfo, &preview);
	report_account(&preview.report, account_of_id(preview.subscription_id));
	preview.sign = -1;
	preview.report.edits = NULL;
	preview.report.at_once = false;
	report_account(&preview.report, account_of_id(preview.subscription_id));
	report_close(&scope);
	return (Datum) 0;
}

static bool
concerns(const Document *document, int64 subscription_id)
{
	for (int i = 0; i < document->nlines; i++)
		if (document->lines[i].subscription_id == subscription_id)
			return true;
	return false;
}

/* The last of the due instants to be looked at; false: the subscription has fewer. */
static bool
find_last_due(SubscriptionPreview *preview, const BatchAccount *account)
{
	const Subscription *sub = subscription_of(preview, account);
	TimestampTz due = account->window.billed_through;

	preview->report.at = Max(account->billed_through, GetCurrentTransactionStartTimestamp());
	for (int i = 0; i < preview->dues; i++)
	{
		TimestampTz next = sub == NULL ? DT_NOEND : subscription_next_due(sub, due);

		if (next == DT_NOEND)
			return false;
		due = next;
	}
	preview->report.at = due;
	return true;
}

/* Rows of billing.preview_invoices(), once the due instants looked at bring enough documents. */
static void
put_invoices(Report *report, AccountBatch *batch)
{
	SubscriptionPreview *preview = (SubscriptionPreview *) report;
	const BatchAccount *account = &batch->accounts[0];
	const Document *documents;
	int			shown_documents = 0;

	preview->more = find_last_due(preview, account);
	report_compute(report, batch);
	batch_document(batch, report->run, report->at);
	documents = account->documents.documents;
	preview->found = 0;
	for (int d = 0; d < account->documents.count; d++)
		preview->found += concerns(&documents[d], preview->subscription_id);
	if (preview->more && preview->found < preview->wanted)
		return;
	for (int d = 0; d < account->documents.count && shown_documents < preview->wanted; d++)
		if (concerns(&documents[d], preview->subscription_id))
			put_document(report, account, &documents[d], ++shown_documents);
}

/* billing.preview_invoices(subscription_id, count): the next documents with lines of the subscription. */
Datum
billing_preview_invoices(PG_FUNCTION_ARGS)
{
	SubscriptionPreview preview = {.report.put = put_invoices, .wanted = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1)};
	BooksScope	scope;

	check_given(fcinfo, 0, "subscription_id", "preview_invoices");
	if (preview.wanted < 1 || preview.wanted > MAX_PREVIEWS)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("count is %d", preview.wanted),
				 errdetail("It lies between 1 and %d.", MAX_PREVIEWS)));
	open_preview(fcinfo, &preview, &scope);
	do
	{
		CHECK_FOR_INTERRUPTS();
		preview.dues += preview.wanted - preview.found;
		report_account(&preview.report, account_of_id(preview.subscription_id));
	} while (preview.more && preview.found < preview.wanted);
	report_close(&scope);
	return (Datum) 0;
}

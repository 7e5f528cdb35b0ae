/*
 * bill_account.c
 *		Documents of one account in the caller's transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"
#include "run/bill.h"

PG_FUNCTION_INFO_V1(billing_bill_account);
PG_FUNCTION_INFO_V1(billing_invoice_account);
PG_FUNCTION_INFO_V1(billing_bill_now);
PG_FUNCTION_INFO_V1(billing_finalize_invoice);

/* Opens the books, proves the right to the account, locks it and bills it. */
static BillResult
bill_one(AccessKind kind, int64 account_id, BillOptions *options, BooksScope *scope)
{
	BillResult	result = {0};

	SPI_connect();
	books_become_owner(scope);
	books_check(true);
	books_authorize(scope, kind, account_id, NULL);
	account_lock(account_id);
	bill_accounts(run_context_create(CurrentMemoryContext, false), &account_id, 1, options, &result);
	return result;
}

/* The id of argument 0, and the moment of argument 1 (default now). */
static int64
take_arguments(FunctionCallInfo fcinfo, const char *name, const char *function, BillOptions *options)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" of %s() must not be null", name, function)));
	options->finalize = options->wait = true;
	options->at = PG_ARGISNULL(1) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(1);
	books_check_at(options->at);
	return PG_GETARG_INT64(0);
}

/* Bills an account for the application and returns the ids of its documents as a set. */
static Datum
bill_and_return(FunctionCallInfo fcinfo, int64 account_id, BillOptions *options)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BooksScope	scope;
	BillResult	result;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	result = bill_one(ACCESS_APPLICATION, account_id, options, &scope);
	for (int i = 0; i < result.ninvoices; i++)
	{
		Datum		value = Int64GetDatum(result.invoice_ids[i]);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	books_leave(&scope);
	SPI_finish();
	return (Datum) 0;
}

/* billing.bill_account(account_id, at) -> setof bigint */
Datum
billing_bill_account(PG_FUNCTION_ARGS)
{
	BillOptions options = {0};
	int64		account_id = take_arguments(fcinfo, "account_id", "bill_account", &options);

	return bill_and_return(fcinfo, account_id, &options);
}

/*
 * billing.invoice_account(account_id, at, include_usage) -> setof bigint: what is
 * due and all that waits for a later invoice, and metered items so far if wanted.
 */
Datum
billing_invoice_account(PG_FUNCTION_ARGS)
{
	BillOptions options = {.at_once = true, .on_demand = true};
	int64		account_id = take_arguments(fcinfo, "account_id", "invoice_account", &options);

	options.accrue = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2) ? ACCRUE_USAGE : ACCRUE_NOTHING;
	return bill_and_return(fcinfo, account_id, &options);
}

/*
 * billing_internal.bill_now(account_id, at): what a verb with invoice_now
 * changed is invoiced at once; the account is locked, the caller its owner.
 */
Datum
billing_bill_now(PG_FUNCTION_ARGS)
{
	BillOptions options = {.finalize = true, .wait = true, .at_once = true, .at = PG_GETARG_TIMESTAMPTZ(1)};
	BillResult	result = {0};
	int64		account_id = PG_GETARG_INT64(0);

	books_check_at(options.at);
	SPI_connect();
	books_check(true);
	bill_accounts(run_context_create(CurrentMemoryContext, false), &account_id, 1, &options, &result);
	SPI_finish();
	PG_RETURN_VOID();
}

static const char *
status_of(int64 invoice_id)
{
	static SpiQuery query = {
		.text = "SELECT status FROM billing.invoice_header WHERE account_id = $1 AND id = $2",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	Datum		key[2] = {Int64GetDatum(account_of_id(invoice_id)), Int64GetDatum(invoice_id)};

	return query_run(&query, key, NULL, false) == 1 ? query_text(0, 1) : NULL;
}

/* Refuses what is not a draft. */
static void
check_is_draft(int64 invoice_id)
{
	const char *status = status_of(invoice_id);

	if (status == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_INVOICE),
				 errmsg("document " INT64_FORMAT " does not exist", invoice_id)));
	if (strcmp(status, "draft") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_WRONG_DOCUMENT_STATE),
				 errmsg("document " INT64_FORMAT " is %s and cannot be finalised", invoice_id, status)));
}

/*
 * billing.finalize_invoice(invoice_id, at) -> bigint: the account's drafts are
 * made once more, and this one gets its number.
 */
Datum
billing_finalize_invoice(PG_FUNCTION_ARGS)
{
	BillOptions options = {0};
	int64		invoice_id = take_arguments(fcinfo, "invoice_id", "finalize_invoice", &options);
	BooksScope	scope;
	const char *status;

	options.only_invoice = invoice_id;
	SPI_connect();
	books_become_owner(&scope);
	books_check(true);
	books_authorize(&scope, ACCESS_OPERATOR, account_of_id(invoice_id), NULL);
	check_is_draft(invoice_id);
	books_leave(&scope);
	SPI_finish();

	(void) bill_one(ACCESS_OPERATOR, account_of_id(invoice_id), &options, &scope);
	status = status_of(invoice_id);
	if (status == NULL || strcmp(status, "draft") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_WRONG_DOCUMENT_STATE),
				 errmsg("nothing is left to charge on draft " INT64_FORMAT, invoice_id)));
	books_leave(&scope);
	SPI_finish();
	PG_RETURN_INT64(invoice_id);
}

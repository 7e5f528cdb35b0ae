/*
 * bill_account.c
 *		Billing one account in the caller's transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"
#include "run/bill.h"

PG_FUNCTION_INFO_V1(billing_bill_account);

/* billing.bill_account(account_id, at) -> setof bigint */
Datum
billing_bill_account(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BillOptions options = {.finalize = true, .wait = true};
	BillResult	result = {0};
	BooksScope	scope;
	int64		account_id;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" of %s() must not be null", "account_id", "bill_account")));
	account_id = PG_GETARG_INT64(0);
	options.at = PG_ARGISNULL(1) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(1);
	bill_check_at(options.at);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	books_become_owner(&scope);
	books_check(true);
	books_authorize(&scope, ACCESS_APPLICATION, account_id, NULL);
	account_lock(account_id);
	bill_accounts(run_context_create(CurrentMemoryContext, false), &account_id, 1, &options, &result);
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

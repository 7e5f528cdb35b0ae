/*
 * account.c
 *		The account's row that every act locks, and the ids drawn from it.
 *
 * Lock order: accounts ascending, then series ascending, then commit.  A
 * transaction that already holds a series would break it by waiting for an
 * account, so from then on account locks do not wait: with that no mixture of
 * calls can deadlock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"

#include "account/account.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

/* The outermost (sub)transaction under way that locked a series row, if any. */
static SubTransactionId series_holder = InvalidSubTransactionId;

PG_FUNCTION_INFO_V1(billing_lock_account);
PG_FUNCTION_INFO_V1(billing_make_id);

/* Id number ordinal of an account; id_overflow beyond 24 bits. */
int64
make_id(int64 account_id, int64 ordinal)
{
	if (ordinal < 1 || ordinal >= (INT64CONST(1) << ID_ORDINAL_BITS))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_ID_OVERFLOW),
				 errmsg("account " INT64_FORMAT " has used up its ids", account_id),
				 errhint("Open a new account.")));
	return (account_id << ID_ORDINAL_BITS) | ordinal;
}

/* A subtransaction that ends hands its lock on, or gives it back. */
static void
series_subtransaction_ends(SubXactEvent event, SubTransactionId ended, SubTransactionId parent, void *arg)
{
	if (series_holder != ended)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		series_holder = parent;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		series_holder = InvalidSubTransactionId;
}

static void
series_transaction_ends(XactEvent event, void *arg)
{
	series_holder = InvalidSubTransactionId;
}

/* To be told when this transaction has locked a series. */
void
account_series_locked(void)
{
	static bool watching = false;

	if (!watching)
	{
		RegisterSubXactCallback(series_subtransaction_ends, NULL);
		RegisterXactCallback(series_transaction_ends, NULL);
		watching = true;
	}
	if (series_holder == InvalidSubTransactionId)
		series_holder = GetCurrentSubTransactionId();
}

/* Does this transaction hold a series? */
bool
account_holds_series(void)
{
	return series_holder != InvalidSubTransactionId;
}

/*
 * Locks an account until the transaction ends; unknown_account where there is
 * none.  Waits, or after a series was locked fails with lock_order.  FOR NO
 * KEY UPDATE, since FOR UPDATE would block foreign-key checks.
 */
void
account_lock(int64 account_id)
{
	static SpiQuery wait = {
		.text = "SELECT FROM billing.account_state WHERE account_id = $1 FOR NO KEY UPDATE",
		.nargs = 1, .argtypes = {INT8OID}
	};
	static SpiQuery skip = {
		.text = "SELECT FROM billing.account_state WHERE account_id = $1 FOR NO KEY UPDATE SKIP LOCKED",
		.nargs = 1, .argtypes = {INT8OID}
	};
	static SpiQuery exists = {
		.text = "SELECT FROM billing.account_state WHERE account_id = $1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	bool		holds_series = account_holds_series();

	if (query_run1(holds_series ? &skip : &wait, false, Int64GetDatum(account_id)) == 1)
		return;
	if (holds_series && query_run1(&exists, false, Int64GetDatum(account_id)) == 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_LOCK_ORDER),
				 errmsg("account " INT64_FORMAT " is locked by another transaction", account_id),
				 errdetail("This transaction holds a number series and must not wait for an account."),
				 errhint("Bill and finalise last in a transaction, then retry it.")));
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_UNKNOWN_ACCOUNT),
			 errmsg("account " INT64_FORMAT " does not exist", account_id)));
}

/* billing_internal.lock_account(bigint) for bodies in plpgsql. */
Datum
billing_lock_account(PG_FUNCTION_ARGS)
{
	SPI_connect();
	account_lock(PG_GETARG_INT64(0));
	SPI_finish();
	PG_RETURN_VOID();
}

/* billing_internal.make_id(account_id bigint, ordinal bigint) */
Datum
billing_make_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(make_id(PG_GETARG_INT64(0), PG_GETARG_INT64(1)));
}

/*
 * failure.c
 *		What a run does with an error: which are an account's own, which pass.
 *
 * An account's own error parks the account.  One that passes is worth another
 * try.  Any other says something of the server or the session and ends the run.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "lib/spi.h"
#include "run/run.h"

/* Enters an account that cannot be billed. */
void
failure_park(int64 run_id, int64 account_id, const ErrorData *error)
{
	static SpiQuery insert = {
		.text = "INSERT INTO billing.run_error (run_id, account_id, sqlstate, message, detail, hint, context, occurred_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp()) ON CONFLICT DO NOTHING",
		.nargs = 7, .argtypes = {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	const char *texts[4] = {error->message, error->detail, error->hint, error->context};
	Datum		values[7] = {Int64GetDatum(run_id), Int64GetDatum(account_id),
	CStringGetTextDatum(unpack_sql_state(error->sqlerrcode))};
	char		nulls[8] = "       ";

	for (int i = 0; i < 4; i++)
	{
		if (texts[i] == NULL)
			nulls[3 + i] = 'n';
		else
			values[3 + i] = CStringGetTextDatum(texts[i]);
	}
	(void) query_run(&insert, values, nulls, false);
}

/* Does the error say something of the account, rather than of the server or the session? */
bool
failure_is_about_account(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category != ERRCODE_CONNECTION_EXCEPTION && category != ERRCODE_INVALID_TRANSACTION_STATE &&
		category != ERRCODE_TRANSACTION_ROLLBACK && category != ERRCODE_INSUFFICIENT_RESOURCES &&
		category != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE && category != ERRCODE_OPERATOR_INTERVENTION &&
		category != ERRCODE_SYSTEM_ERROR && category != ERRCODE_INTERNAL_ERROR &&
		category != ERRCODE_CONFIG_FILE_ERROR && category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

/* Passing trouble with others' locks? */
bool
failure_is_passing(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * books.c
 *		billing.setup(): the engine makes the books.
 *
 * A superuser calls it.  What needs his rights runs as him and is fixed text
 * with quoted names; every table, trigger and view is made by the owner of the
 * books, so that nothing of the books ever runs as a superuser, and restricted,
 * so that none of his triggers is put off until the superuser is back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

PG_FUNCTION_INFO_V1(billing_setup);
PG_FUNCTION_INFO_V1(billing_routine_access);

/* Runs a statement of one argument, in setup only: not worth a saved plan. */
static void
execute(const char *statement, Oid argtype, Datum argument)
{
	int			rc = SPI_execute_with_args(statement, argtype == InvalidOid ? 0 : 1, &argtype, &argument,
										   NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement, SPI_result_code_string(rc));
}

/*
 * Refuses an engine of two parts: functions of one version in the database,
 * the library of another.
 */
static void
check_extension_version(void)
{
	char	   *version = books_extension_version();

	if (strcmp(version, BILLING_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_BOOKS_VERSION_MISMATCH),
				 errmsg("extension is version %s, its library is version %s", version, BILLING_VERSION),
				 errhint("Use ALTER EXTENSION billing UPDATE, after a restart where the library is preloaded.")));
}

/* The statements that make the books, or change books of an older version into those of this one. */
static char *
books_statements(const char *action, Datum from_version, bool isnull)
{
	static Oid	argtypes[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3] = {CStringGetTextDatum(action), from_version, CStringGetTextDatum(BILLING_VERSION)};

	SPI_execute_with_args("SELECT CASE WHEN $1 = 'created' THEN '' ELSE billing_internal.books_migration($2, $3) END"
						  " || billing_internal.books_ddl()",
						  3, argtypes, values, isnull ? " n " : NULL, false, 0);
	return query_text(0, 1);
}

/* Makes, completes or migrates the tables, as their owner. */
static void
make_books(Oid owner, char *ddl)
{
	BooksScope	scope;

	GetUserIdAndSecContext(&scope.saved_user, &scope.saved_security);
	SetUserIdAndSecContext(owner, scope.saved_security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	books_lock_search_path(&scope);
	execute(ddl, InvalidOid, (Datum) 0);
	execute("SELECT billing_internal.setup_book($1)", TEXTOID, CStringGetTextDatum(BILLING_VERSION));
	books_leave(&scope);
}

/* billing.setup(owner regrole) -> (action, from_version, to_version) */
Datum
billing_setup(PG_FUNCTION_ARGS)
{
	static Oid	argtypes[] = {REGROLEOID, TEXTOID};
	Datum		args[2];
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	TupleDesc	desc;
	BooksScope	scope;
	Oid			owner;
	char	   *action;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("owner must not be null")));
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to set up the books")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	args[0] = PG_GETARG_DATUM(0);
	args[1] = CStringGetTextDatum(BILLING_VERSION);

	SPI_connect();
	books_lock_search_path(&scope);
	check_extension_version();
	(void) set_config_option("client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_execute_with_args("SELECT owner, action, from_version FROM billing_internal.setup_prepare($1, $2)",
						  2, argtypes, args, NULL, false, 0);
	owner = DatumGetObjectId(query_value(0, 1));
	action = query_text(0, 2);
	values[0] = SPI_datumTransfer(query_value(0, 2), false, -1);
	values[1] = query_datum(0, 3, &nulls[1]);
	if (!nulls[1])
		values[1] = SPI_datumTransfer(values[1], false, -1);
	values[2] = args[1];
	make_books(owner, books_statements(action, values[1], nulls[1]));
	execute("SELECT billing_internal.setup_finish($1)", REGROLEOID, ObjectIdGetDatum(owner));
	AtEOXact_GUC(true, scope.guc_level);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * billing_internal.routine_access(role_name, kinds, limited): runs its body as
 * the owner of the engine.  Only the owner of the books may call it.
 */
Datum
billing_routine_access(PG_FUNCTION_ARGS)
{
	static Oid	argtypes[] = {TEXTOID, TEXTARRAYOID, BOOLOID};
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Datum		values[3] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	char		nulls[3];
	BooksScope	scope;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	for (int i = 0; i < 3; i++)
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	SPI_connect();
	GetUserIdAndSecContext(&scope.saved_user, &scope.saved_security);
	SetUserIdAndSecContext(owner, scope.saved_security | SECURITY_LOCAL_USERID_CHANGE);
	books_lock_search_path(&scope);
	SPI_execute_with_args("SELECT billing_internal.change_routine_access($1, $2, $3)",
						  3, argtypes, values, nulls, false, 0);
	books_leave(&scope);
	SPI_finish();
	PG_RETURN_VOID();
}

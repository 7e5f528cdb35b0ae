/*
 * job.c
 *		The calls: schedule, alter, unschedule and run a job.
 *
 * A job runs with the rights of the role that scheduled it, so only that role
 * (and who has its rights) may change it, and everything that names a procedure
 * is checked as the caller before the books are opened.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/spi.h"
#include "worker/job.h"
#include "worker/worker.h"

/* A job as it stands in the table, or shall. */
typedef struct Definition
{
	char	   *name;
	char	   *owner;
	char	   *procedure;
	Jsonb	   *arguments;
	Interval	every;
	TimestampTz first_start;
	char	   *time_zone;
	bool		paused;
	TimestampTz next_run;
} Definition;

PG_FUNCTION_INFO_V1(billing_schedule_job);
PG_FUNCTION_INFO_V1(billing_alter_job);
PG_FUNCTION_INFO_V1(billing_unschedule_job);
PG_FUNCTION_INFO_V1(billing_run_job);

/* Refuses what nobody would carry out. */
static void
require_workers(void)
{
	if (!workers_preloaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jobs are not run in this server"),
				 errdetail("The library \"billing\" is not preloaded."),
				 errhint("Add billing to shared_preload_libraries and restart the server, "
						 "or call the procedure from another scheduler.")));
}

/* Refuses null (22004). */
static void
refuse_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"%s\" must not be null", name)));
}

/* Opens the books for an operator. */
static void
open_books(BooksScope *scope)
{
	books_become_owner(scope);
	books_check(false);
	books_authorize(scope, ACCESS_OPERATOR, 0, NULL);
}

/* Reads a job; false where there is none.  As the owner of the books. */
static bool
read_job(const char *name, Definition *job)
{
	static SpiQuery query = {
		.text = "SELECT owner, procedure, arguments, every, first_start, time_zone, paused, next_run"
		" FROM billing.job WHERE name = $1 FOR UPDATE",
		.nargs = 1, .argtypes = {TEXTOID}
	};

	if (query_run1(&query, false, CStringGetTextDatum(name)) == 0)
		return false;
	job->owner = query_text(0, 1);
	job->procedure = query_text(0, 2);
	job->arguments = DatumGetJsonbPCopy(query_value(0, 3));
	job->every = *DatumGetIntervalP(query_value(0, 4));
	job->first_start = query_int64(0, 5, 0);
	job->time_zone = query_text(0, 6);
	job->paused = DatumGetBool(query_value(0, 7));
	job->next_run = query_int64(0, 8, 0);
	return true;
}

/* Raises unknown_job. */
static void
no_such_job(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_UNKNOWN_JOB), errmsg("job \"%s\" does not exist", name)));
}

/* Refuses (42501) a caller who has not the rights of the job's owner. */
static void
check_owner(const BooksScope *scope, const char *name, const char *owner)
{
	Oid			role = get_role_oid(owner, true);

	if (OidIsValid(role) ? has_privs_of_role(scope->saved_user, role) : superuser_arg(scope->saved_user))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("job \"%s\" belongs to role \"%s\"", name, owner)));
}

/* A job's owner must be able to have a session. */
static void
check_login(const char *owner)
{
	HeapTuple	tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(owner));
	bool		login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" may not log in", owner),
				 errdetail("A job runs in a session of the role that scheduled it."),
				 errhint("Schedule it as a role that may log in.")));
}

/* Refuses a procedure that the job's owner may not execute, and arguments that do not fit.  As the caller. */
static void
check_call(Definition *job)
{
	JobCall    *call = job_call(job->procedure, job->arguments, GetCurrentTimestamp());

	if (object_aclcheck(ProcedureRelationId, call->function, get_role_oid(job->owner, false),
						ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute %s", job->owner, format_procedure_qualified(call->function))));
	(void) job_call_analyze(call);
	job->procedure = job_procedure_name(call->function);
}

/* Takes over the arguments that are given, and plans anew where they change when the job runs. */
static void
apply_arguments(FunctionCallInfo fcinfo, Definition *job, bool is_new)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (is_new)
	{
		job->arguments = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
		job->first_start = now;
		job->time_zone = "UTC";
	}
	if (!PG_ARGISNULL(1))
		job->procedure = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(5))
		job->arguments = PG_GETARG_JSONB_P(5);
	if (!PG_ARGISNULL(6))
		job->paused = PG_GETARG_BOOL(6);
	if (!PG_ARGISNULL(2))
	{
		const Interval *every = PG_GETARG_INTERVAL_P(2);

		job_check_interval(every);
		is_new |= memcmp(every, &job->every, sizeof(Interval)) != 0;
		job->every = *every;
	}
	if (!PG_ARGISNULL(3))
	{
		check_instant(PG_GETARG_TIMESTAMPTZ(3), "first_start");
		is_new |= job->first_start != PG_GETARG_TIMESTAMPTZ(3);
		job->first_start = PG_GETARG_TIMESTAMPTZ(3);
	}
	if (!PG_ARGISNULL(4))
	{
		char	   *zone = text_to_cstring(PG_GETARG_TEXT_PP(4));

		is_new |= strcmp(zone, job->time_zone) != 0;
		job->time_zone = zone;
	}
	(void) time_zone_lookup(job->time_zone);
	if (is_new)
		job->next_run = job_instant(job->first_start, &job->every, job->time_zone, now);
}

/* Writes the job, as the owner of the books. */
static void
write_job(const Definition *job)
{
	static SpiQuery upsert = {
		.text = "INSERT INTO billing.job AS j (name, owner, procedure, arguments, every, first_start,"
		" time_zone, paused, next_run, proof) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
		" ON CONFLICT (name) DO UPDATE SET procedure = $3, arguments = $4, every = $5, first_start = $6,"
		" time_zone = $7, paused = $8, next_run = $9, proof = $10 WHERE j.owner = $2",
		.nargs = 10,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, JSONBOID, INTERVALOID, TIMESTAMPTZOID, TEXTOID, BOOLOID,
		TIMESTAMPTZOID, TEXTOID}
	};
	const char *arguments = JsonbToCString(NULL, &job->arguments->root, VARSIZE(job->arguments));
	Datum		values[10] = {CStringGetTextDatum(job->name), CStringGetTextDatum(job->owner),
		CStringGetTextDatum(job->procedure), JsonbPGetDatum(job->arguments), IntervalPGetDatum(&job->every),
		TimestampTzGetDatum(job->first_start), CStringGetTextDatum(job->time_zone), BoolGetDatum(job->paused),
		TimestampTzGetDatum(job->next_run),
	CStringGetTextDatum(job_proof(job->name, job->owner, job->procedure, arguments))};

	if (query_run(&upsert, values, NULL, false) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION), errmsg("job \"%s\" was just scheduled by another role", job->name)));
}

/* schedule_job and alter_job have the same arguments. */
static Datum
put_job(FunctionCallInfo fcinfo, bool may_create)
{
	Definition	job = {0};
	BooksScope	scope;
	bool		exists;

	job.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect();
	open_books(&scope);
	require_workers();
	if (*job.name == '\0' || strlen(job.name) > MAX_JOB_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("name of a job is empty or too long"),
				 errdetail("It has 1 to %d bytes.", MAX_JOB_NAME)));
	exists = read_job(job.name, &job);
	if (exists)
		check_owner(&scope, job.name, job.owner);
	else if (may_create)
		job.owner = GetUserNameFromId(scope.saved_user, false);
	else
		no_such_job(job.name);
	books_leave(&scope);
	check_login(job.owner);
	apply_arguments(fcinfo, &job, !exists);
	check_call(&job);
	books_become_owner(&scope);
	write_job(&job);
	books_leave(&scope);
	SPI_finish();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* billing.schedule_job(name, procedure, every, first_start, time_zone, arguments, paused) */
Datum
billing_schedule_job(PG_FUNCTION_ARGS)
{
	refuse_null(fcinfo, 0, "name");
	refuse_null(fcinfo, 1, "procedure");
	refuse_null(fcinfo, 2, "every");
	return put_job(fcinfo, true);
}

/* billing.alter_job(...): the same of a job that exists. */
Datum
billing_alter_job(PG_FUNCTION_ARGS)
{
	refuse_null(fcinfo, 0, "name");
	return put_job(fcinfo, false);
}

/* billing.unschedule_job(name) */
Datum
billing_unschedule_job(PG_FUNCTION_ARGS)
{
	static SpiQuery remove = {
		.text = "DELETE FROM billing.job WHERE name = $1", .nargs = 1, .argtypes = {TEXTOID}
	};
	Definition	job = {0};
	BooksScope	scope;

	refuse_null(fcinfo, 0, "name");
	job.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect();
	open_books(&scope);
	require_workers();
	if (!read_job(job.name, &job))
		no_such_job(job.name);
	check_owner(&scope, job.name, job.owner);
	(void) query_run1(&remove, false, PG_GETARG_DATUM(0));
	books_leave(&scope);
	SPI_finish();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* Claims the job for the session of its owner, who calls.  As the owner of the books. */
static void
claim_by_hand(Job *job, const BooksScope *scope)
{
	Definition	found = {0};

	if (!read_job(job->name, &found))
		no_such_job(job->name);
	if (get_role_oid(found.owner, true) != scope->saved_user)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("job \"%s\" belongs to role \"%s\"", job->name, found.owner),
				 errdetail("It runs in a session of that role only."),
				 errhint("Call SET ROLE %s first.", quote_identifier(found.owner))));
	job_finish_interrupted();
	if (!job_claim(job, GetCurrentStatementStartTimestamp(), true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE), errmsg("job \"%s\" is running", job->name)));
}

/* Calls the claimed job's procedure, which commits by itself unless the caller has begun a transaction. */
static void
call_by_hand(const Job *job, bool atomic)
{
	SPIExecuteOptions options = {.allow_nonatomic = !atomic};
	JobCall    *call;
	int			rc;

	job_check_proof(job);
	call = job_call(job->procedure, job_arguments(job), job->started_at);
	(void) job_call_analyze(call);
	options.params = call->params;
	rc = SPI_execute_extended(call->text, &options);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", call->text, SPI_result_code_string(rc));
}

/*
 * billing.run_job(name): outside a transaction block the claim is committed
 * first.  An error is the caller's; the claim it leaves is noted as interrupted
 * by whoever looks next.
 */
Datum
billing_run_job(PG_FUNCTION_ARGS)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);
	MemoryContext old;
	BooksScope	scope;
	Job			job = {0};

	refuse_null(fcinfo, 0, "name");
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	old = MemoryContextSwitchTo(PortalContext);
	job.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	books_become_owner(&scope);
	books_check(true);
	books_authorize(&scope, ACCESS_OPERATOR, 0, NULL);
	claim_by_hand(&job, &scope);
	books_leave(&scope);
	if (!atomic)
	{
		SPI_commit();
		SPI_start_transaction();
		MemoryContextSwitchTo(PortalContext);
	}
	call_by_hand(&job, atomic);
	books_become_owner(&scope);
	job_finish(&job, "succeeded", NULL);
	books_leave(&scope);
	SPI_finish();
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/*
 * verb.c
 *		One C entry point per kind of right for the calls written in plpgsql.
 *
 * billing.x(...) is declared on billing_call_<kind>; its body is
 * billing_internal.x(...) with the same argument types.  The entry point
 * refuses null in arguments without a default, proves the caller's right,
 * keeps the promise of idempotency_key, becomes the owner of the books and
 * runs the body.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/hash.h"
#include "lib/spi.h"

/* What of pg_proc a call needs; kept for the session, keyed by the function. */
typedef struct Verb
{
	Oid			function;		/* hash key */
	char	   *name;
	int			nargs;
	int			required;		/* the first arguments, which have no default */
	Oid		   *argtypes;
	char	  **argnames;
	bool		read_only;
	bool		returns_set;
	bool		of_all_accounts;	/* tells of all accounts, in its first column */
	SPIPlanPtr	body;
	SPIPlanPtr	limited_body;	/* the same for a caller who may see some entities */
} Verb;

static HTAB *verbs = NULL;

PG_FUNCTION_INFO_V1(billing_check);
PG_FUNCTION_INFO_V1(billing_check_billable);
PG_FUNCTION_INFO_V1(billing_call_reader);
PG_FUNCTION_INFO_V1(billing_call_application);
PG_FUNCTION_INFO_V1(billing_call_operator);
PG_FUNCTION_INFO_V1(billing_call_administrator);

/* Fills a new entry from the catalog. */
static void
verb_describe(Verb *verb)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(verb->function));
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Form_pg_proc form;
	Oid		   *types;
	char	   *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", verb->function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	verb->name = pstrdup(NameStr(form->proname));
	verb->nargs = form->pronargs;
	verb->required = form->pronargs - form->pronargdefaults;
	verb->read_only = form->provolatile != PROVOLATILE_VOLATILE;
	verb->returns_set = form->proretset;
	verb->argtypes = palloc(sizeof(Oid) * Max(verb->nargs, 1));
	memcpy(verb->argtypes, form->proargtypes.values, sizeof(Oid) * verb->nargs);
	verb->of_all_accounts = get_func_arg_info(tuple, &types, &verb->argnames, &modes) > verb->nargs &&
		verb->returns_set && strcmp(verb->argnames[verb->nargs], "account_id") == 0;
	verb->body = verb->limited_body = NULL;
	MemoryContextSwitchTo(old);
	ReleaseSysCache(tuple);
}

/* The entry of the called function. */
static Verb *
verb_lookup(Oid function)
{
	Verb	   *verb;
	bool		found;

	if (verbs == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Verb)};

		verbs = hash_create("billing verbs", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	verb = hash_search(verbs, &function, HASH_ENTER, &found);
	if (!found)
	{
		PG_TRY();
		{
			verb_describe(verb);
		}
		PG_CATCH();
		{
			hash_search(verbs, &function, HASH_REMOVE, NULL);
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	return verb;
}

/* Null is refused where the signature has no default. */
static void
verb_check_nulls(const Verb *verb, FunctionCallInfo fcinfo)
{
	for (int i = 0; i < verb->required; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" of %s() must not be null", verb->argnames[i], verb->name)));
}

/* Position of a named argument that is not null, or -1. */
static int
verb_argument(const Verb *verb, FunctionCallInfo fcinfo, const char *name)
{
	for (int i = 0; i < verb->nargs; i++)
		if (strcmp(verb->argnames[i], name) == 0)
			return PG_ARGISNULL(i) ? -1 : i;
	return -1;
}

/* The account behind an external id, for account_id() and subscription_id(); 0: none. */
static int64
verb_external_account(const Verb *verb, FunctionCallInfo fcinfo)
{
	static SpiQuery query = {
		.text = "SELECT account_id FROM billing.key WHERE kind = $1 AND key = $2",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	char	   *kind = pnstrdup(verb->name, strlen(verb->name) - strlen("_id"));
	Datum		values[2] = {CStringGetTextDatum(kind), PG_GETARG_DATUM(0)};

	return query_run(&query, values, NULL, true) == 1 ? query_int64(0, 1, 0) : 0;
}

/* The account that the arguments name, also by the id of something it has; 0: none. */
static int64
verb_account(const Verb *verb, FunctionCallInfo fcinfo)
{
	static const char *const account_scoped[] = {
		"subscription_id", "invoice_id", "item_id", "change_id", "discount_id", "minimum_id", "payment_id",
		"credit_note_id", "payment_method_id", "collection_id", "case_id", "promise_id", "arrangement_id",
		"transfer_id", "notification_id"
	};
	int			account = verb_argument(verb, fcinfo, "account_id");
	int64		account_id = account >= 0 ? PG_GETARG_INT64(account) : 0;

	for (int i = 0; i < (int) lengthof(account_scoped) && account_id == 0; i++)
	{
		int			arg = verb_argument(verb, fcinfo, account_scoped[i]);

		if (arg >= 0)
			account_id = PG_GETARG_INT64(arg) >> 24;
	}
	if (account_id == 0 && verb->nargs == 1 && verb_argument(verb, fcinfo, "external_id") == 0)
		account_id = verb_external_account(verb, fcinfo);
	return account_id;
}

/* The entity that the arguments name, also by a consumer that reads its events only; NULL: none. */
static char *
verb_entity(const Verb *verb, FunctionCallInfo fcinfo)
{
	static SpiQuery query = {
		.text = "SELECT entity FROM billing.event_consumer WHERE name = $1", .nargs = 1, .argtypes = {TEXTOID}
	};
	int			entity = verb_argument(verb, fcinfo, "entity");
	int			consumer = verb_argument(verb, fcinfo, "consumer");

	if (entity >= 0)
		return text_to_cstring(PG_GETARG_TEXT_PP(entity));
	return consumer >= 0 && query_run1(&query, true, PG_GETARG_DATUM(consumer)) == 1 ? query_text(0, 1) : NULL;
}

/*
 * The right to the entity that the arguments name or whose account they name.
 * Of a call that tells of all accounts, returns the entities that the caller
 * may see, null: all.
 */
static Datum
verb_authorize(const Verb *verb, FunctionCallInfo fcinfo, const BooksScope *scope, AccessKind kind)
{
	bool		all;

	if (verb->of_all_accounts)
		return books_entities(scope, kind, &all);
	books_authorize(scope, kind, verb_account(verb, fcinfo), verb_entity(verb, fcinfo));
	return (Datum) 0;
}

/* Hex digest of the call's name and arguments but the key itself, whatever the session's settings. */
static char *
verb_fingerprint(const Verb *verb, FunctionCallInfo fcinfo, int key)
{
	static const char *const settings[][2] = {
		{"TimeZone", "UTC"}, {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"}
	};
	int			guc_level = NewGUCNestLevel();
	StringInfoData text;

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	initStringInfo(&text);
	appendStringInfoString(&text, verb->name);
	for (int i = 0; i < verb->nargs; i++)
	{
		Oid			output;
		bool		varlena;

		if (i == key || PG_ARGISNULL(i))
			continue;
		getTypeOutputInfo(verb->argtypes[i], &output, &varlena);
		appendStringInfo(&text, "\n%s=", verb->argnames[i]);
		appendStringInfoString(&text, OidOutputFunctionCall(output, PG_GETARG_DATUM(i)));
	}
	AtEOXact_GUC(true, guc_level);
	return hash_hex(text.data, text.len);
}

/*
 * Claims an idempotency key.  True when the same call was made before: then
 * *result is its result.  Another call with the same key is an error.  A
 * concurrent one waits for the first to end.
 */
static bool
idempotency_claim(const char *key, const char *fingerprint, int64 *result, bool *isnull)
{
	static SpiQuery insert = {
		.text = "INSERT INTO billing.key (kind, key, fingerprint) VALUES ('idempotency', $1, $2) ON CONFLICT DO NOTHING",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	static SpiQuery find = {
		.text = "SELECT fingerprint, id FROM billing.key WHERE kind = 'idempotency' AND key = $1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		values[2] = {CStringGetTextDatum(key), CStringGetTextDatum(fingerprint)};

	if (query_run(&insert, values, NULL, false) == 1)
		return false;
	if (query_run1(&find, false, values[0]) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("idempotency key \"%s\" is being used by another transaction", key)));
	if (strcmp(query_text(0, 1), fingerprint) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key \"%s\" was used before with other arguments", key),
				 errhint("Use a new key for a new act.")));
	*result = DatumGetInt64(query_datum(0, 2, isnull));
	return true;
}

/* Remembers the result of the call under its key. */
static void
idempotency_keep(const char *key, int64 result)
{
	static SpiQuery update = {
		.text = "UPDATE billing.key SET id = $2 WHERE kind = 'idempotency' AND key = $1",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {CStringGetTextDatum(key), Int64GetDatum(result)};

	(void) query_run(&update, values, NULL, false);
}

/* The saved statement that calls the body; limited: and leaves out other accounts than those of $nargs+1. */
static SPIPlanPtr
verb_plan(const Verb *verb, bool limited)
{
	Oid		   *types = palloc(sizeof(Oid) * (verb->nargs + 1));
	StringInfoData text;
	SPIPlanPtr	plan;

	memcpy(types, verb->argtypes, sizeof(Oid) * verb->nargs);
	types[verb->nargs] = TEXTARRAYOID;
	initStringInfo(&text);
	appendStringInfo(&text, "SELECT x.* FROM billing_internal.%s(", quote_identifier(verb->name));
	for (int i = 0; i < verb->nargs; i++)
		appendStringInfo(&text, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&text, ") x");
	if (limited)
		appendStringInfo(&text, " WHERE EXISTS (SELECT FROM billing.account a"
						 " WHERE a.account_id = x.account_id AND a.entity = ANY ($%d))", verb->nargs + 1);
	plan = SPI_prepare(text.data, verb->nargs + (limited ? 1 : 0), types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\"", text.data);
	return plan;
}

/* Runs the body, of entities only unless that is null; the result stays in SPI_tuptable. */
static void
verb_run_body(Verb *verb, FunctionCallInfo fcinfo, Datum entities)
{
	SPIPlanPtr *plan = entities ? &verb->limited_body : &verb->body;
	Datum	   *values = palloc(sizeof(Datum) * (verb->nargs + 1));
	char	   *nulls = palloc(verb->nargs + 1);
	int			rc;

	for (int i = 0; i < verb->nargs; i++)
	{
		values[i] = fcinfo->args[i].value;
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	values[verb->nargs] = entities;
	nulls[verb->nargs] = ' ';
	if (*plan == NULL)
		*plan = verb_plan(verb, entities != (Datum) 0);
	rc = SPI_execute_plan(*plan, values, nulls, verb->read_only, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not execute %s(): %s", verb->name, SPI_result_code_string(rc));
}

/* Hands the body's rows over as the function's set. */
static void
verb_return_set(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int			natts = SPI_tuptable->tupdesc->natts;
		Datum	   *values = palloc(sizeof(Datum) * natts);
		bool	   *nulls = palloc(sizeof(bool) * natts);

		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* The single value of the body, copied out of SPI's memory. */
static Datum
verb_return_value(bool *isnull)
{
	Form_pg_attribute att = TupleDescAttr(SPI_tuptable->tupdesc, 0);
	Datum		value = query_datum(0, 1, isnull);

	return *isnull ? (Datum) 0 : SPI_datumTransfer(value, att->attbyval, att->attlen);
}

/*
 * Idempotent calls return bigint; runs the body once per key, for ever.  The
 * account is locked before the key: a transaction that holds the account may
 * come for the key next, and the other way round they would deadlock.
 */
static Datum
verb_run_once(Verb *verb, FunctionCallInfo fcinfo, int key_arg, bool *isnull)
{
	static SpiQuery lock = {
		.text = "SELECT billing_internal.lock_account(s.account_id) FROM billing.account_state s WHERE s.account_id = $1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(key_arg));
	int64		result = 0;

	if (*key == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("\"%s\" of %s() must not be empty", "idempotency_key", verb->name)));
	(void) query_run1(&lock, false, Int64GetDatum(verb_account(verb, fcinfo)));
	if (idempotency_claim(key, verb_fingerprint(verb, fcinfo, key_arg), &result, isnull))
		return Int64GetDatum(result);
	verb_run_body(verb, fcinfo, (Datum) 0);
	result = DatumGetInt64(verb_return_value(isnull));
	if (!*isnull)
		idempotency_keep(key, result);
	return Int64GetDatum(result);
}

/* The common entry point. */
static Datum
verb_call(FunctionCallInfo fcinfo, AccessKind kind, bool any_version)
{
	Verb	   *verb = verb_lookup(fcinfo->flinfo->fn_oid);
	int			key_arg = verb_argument(verb, fcinfo, "idempotency_key");
	BooksScope	scope;
	Datum		entities;
	Datum		result = (Datum) 0;
	bool		isnull = false;

	verb_check_nulls(verb, fcinfo);
	SPI_connect();
	books_become_owner(&scope);
	if (!any_version)
		books_check(false);
	entities = verb_authorize(verb, fcinfo, &scope, kind);
	if (key_arg >= 0)
		result = verb_run_once(verb, fcinfo, key_arg, &isnull);
	else
	{
		verb_run_body(verb, fcinfo, entities);
		if (verb->returns_set)
			verb_return_set(fcinfo);
		else
			result = verb_return_value(&isnull);
	}
	books_leave(&scope);
	SPI_finish();
	fcinfo->isnull = isnull || verb->returns_set;
	return result;
}

Datum
billing_call_reader(PG_FUNCTION_ARGS)
{
	return verb_call(fcinfo, ACCESS_READER, false);
}

/* billing.check(): also asked of books that wait for their migration. */
Datum
billing_check(PG_FUNCTION_ARGS)
{
	return verb_call(fcinfo, ACCESS_READER, true);
}

Datum
billing_call_application(PG_FUNCTION_ARGS)
{
	return verb_call(fcinfo, ACCESS_APPLICATION, false);
}

Datum
billing_call_operator(PG_FUNCTION_ARGS)
{
	return verb_call(fcinfo, ACCESS_OPERATOR, false);
}

Datum
billing_call_administrator(PG_FUNCTION_ARGS)
{
	return verb_call(fcinfo, ACCESS_ADMINISTRATOR, false);
}

/* billing_internal.check_billable(at): refuses to make documents where and when runs are refused. */
Datum
billing_check_billable(PG_FUNCTION_ARGS)
{
	books_check_at(PG_GETARG_TIMESTAMPTZ(0));
	SPI_connect();
	books_check(true);
	SPI_finish();
	PG_RETURN_VOID();
}

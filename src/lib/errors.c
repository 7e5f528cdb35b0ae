/*
 * errors.c
 *		The list of errors.h for SQL: to read, and to raise from plpgsql.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "lib/errors.h"

typedef struct Condition
{
	int			sqlstate;
	const char *name;
	const char *meaning;		/* NULL: the server's own */
	const char *action;
} Condition;

static const Condition conditions[] = {
#define X(symbol, number, name, meaning, action) \
	{ERRCODE_BILLING_##symbol, name, meaning, action},
	BILLING_ERRORS(X)
#undef X
	{ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, "datetime_field_overflow", NULL, NULL},
	{ERRCODE_FEATURE_NOT_SUPPORTED, "feature_not_supported", NULL, NULL},
	{ERRCODE_INSUFFICIENT_PRIVILEGE, "insufficient_privilege", NULL, NULL},
	{ERRCODE_LOCK_NOT_AVAILABLE, "lock_not_available", NULL, NULL},
	{ERRCODE_NULL_VALUE_NOT_ALLOWED, "null_value_not_allowed", NULL, NULL},
	{ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "numeric_value_out_of_range", NULL, NULL},
	{ERRCODE_OBJECT_IN_USE, "object_in_use", NULL, NULL},
	{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "object_not_in_prerequisite_state", NULL, NULL},
	{ERRCODE_UNDEFINED_OBJECT, "undefined_object", NULL, NULL},
	{ERRCODE_UNIQUE_VIOLATION, "unique_violation", NULL, NULL},
};

PG_FUNCTION_INFO_V1(billing_error_codes);
PG_FUNCTION_INFO_V1(billing_fail);

/* billing_internal.error_codes(): the SQLSTATEs of class LB. */
Datum
billing_error_codes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(conditions) && conditions[i].meaning != NULL; i++)
	{
		bool		nulls[4] = {false};
		Datum		values[4];

		values[0] = CStringGetTextDatum(unpack_sql_state(conditions[i].sqlstate));
		values[1] = CStringGetTextDatum(conditions[i].name);
		values[2] = CStringGetTextDatum(conditions[i].meaning);
		values[3] = CStringGetTextDatum(conditions[i].action);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* SQLSTATE of a condition name; an unknown one is a mistake of the engine. */
static int
condition_sqlstate(const char *name)
{
	for (int i = 0; i < (int) lengthof(conditions); i++)
		if (strcmp(conditions[i].name, name) == 0)
			return conditions[i].sqlstate;
	elog(ERROR, "unknown condition \"%s\"", name);
}

/* billing_internal.fail(name, message, detail, hint): raises the error, never returns. */
Datum
billing_fail(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		elog(ERROR, "error without name or message");
	ereport(ERROR,
			(errcode(condition_sqlstate(text_to_cstring(PG_GETARG_TEXT_PP(0)))),
			 errmsg("%s", text_to_cstring(PG_GETARG_TEXT_PP(1))),
			 PG_ARGISNULL(2) ? 0 : errdetail("%s", text_to_cstring(PG_GETARG_TEXT_PP(2))),
			 PG_ARGISNULL(3) ? 0 : errhint("%s", text_to_cstring(PG_GETARG_TEXT_PP(3)))));
}

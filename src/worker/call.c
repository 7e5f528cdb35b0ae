/*
 * call.c
 *		The statement that runs a job.
 *
 * The procedure is resolved by name to one in the catalog; the statement then
 * names that one, quoted, and passes every argument by its name as a parameter
 * of the declared type.  No text of a job ever becomes SQL.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "lib/errors.h"
#include "worker/job.h"

/* What of pg_proc the call needs. */
typedef struct Signature
{
	char	   *name;			/* qualified and quoted */
	bool		is_procedure;
	int			nargs;			/* of all modes */
	int			ninputs;
	int			nrequired;		/* inputs without default */
	Oid		   *types;
	char	  **names;
	char	   *modes;
} Signature;

/* A procedure or function by its name, with argument types where the name alone is not unique. */
Oid
job_procedure(const char *procedure)
{
	PGFunction	input = strchr(procedure, '(') != NULL ? regprocedurein : regprocin;
	Oid			function = DatumGetObjectId(DirectFunctionCall1(input, CStringGetDatum(procedure)));
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("procedure \"%s\" does not exist", procedure)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if ((form->prokind != PROKIND_PROCEDURE && form->prokind != PROKIND_FUNCTION) ||
		form->prorettype == TRIGGEROID || form->prorettype == EVENT_TRIGGEROID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be a job", procedure),
				 errdetail("A job is a procedure or a plain function.")));
	ReleaseSysCache(tuple);
	return function;
}

/* The way back: qualified, argument types only where needed, so that it outlives a new signature. */
char *
job_procedure_name(Oid function)
{
	char	   *name = get_func_name(function);
	Oid			schema = get_func_namespace(function);
	CatCList   *same_name = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	int			count = 0;

	for (int i = 0; i < same_name->n_members; i++)
		if (((Form_pg_proc) GETSTRUCT(&same_name->members[i]->tuple))->pronamespace == schema)
			count++;
	ReleaseSysCacheList(same_name);
	return count == 1 ? quote_qualified_identifier(get_namespace_name(schema), name) :
		format_procedure_qualified(function);
}

/* Fills the signature from the catalog. */
static void
signature_read(Signature *signature, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	signature->name = quote_qualified_identifier(get_namespace_name(form->pronamespace), NameStr(form->proname));
	signature->is_procedure = form->prokind == PROKIND_PROCEDURE;
	signature->ninputs = form->pronargs;
	signature->nrequired = form->pronargs - form->pronargdefaults;
	signature->nargs = get_func_arg_info(tuple, &signature->types, &signature->names, &signature->modes);
	ReleaseSysCache(tuple);
}

/* Is it an argument that a job may give? */
static bool
is_input(const Signature *signature, int arg)
{
	char		mode = signature->modes != NULL ? signature->modes[arg] : FUNC_PARAM_IN;

	return mode == FUNC_PARAM_IN || mode == FUNC_PARAM_INOUT;
}

/* The input argument of a name, or -1. */
static int
find_argument(const Signature *signature, const char *name, int length)
{
	for (int i = 0; signature->names != NULL && i < signature->nargs; i++)
		if (is_input(signature, i) && (int) strlen(signature->names[i]) == length &&
			strncmp(signature->names[i], name, length) == 0)
			return i;
	return -1;
}

/* Text form of a JSON value as input of a type; NULL for null. */
static char *
value_text(JsonbValue *value, Oid type, const char *name)
{
	Jsonb	   *json;

	if (value->type == jbvNull)
		return NULL;
	if (type == JSONOID || type == JSONBOID)
	{
		json = JsonbValueToJsonb(value);
		return JsonbToCString(NULL, &json->root, VARSIZE(json));
	}
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			ereport(ERROR,
					(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
					 errmsg("argument \"%s\" of a job is an object or array", name),
					 errdetail("Only arguments of type json and jsonb take one; write an array as text, '{a,b}'.")));
	}
}

/* Adds a parameter and names it in the statement. */
static ParamExternData *
add_parameter(JobCall *call, StringInfo text, const Signature *signature, int arg)
{
	ParamExternData *param = &call->params->params[call->nargs];

	if (call->nargs > 0)
		appendStringInfoString(text, ", ");
	appendStringInfo(text, "%s => $%d", quote_identifier(signature->names[arg]), call->nargs + 1);
	call->argtypes[call->nargs++] = signature->types[arg];
	param->ptype = signature->types[arg];
	param->pflags = PARAM_FLAG_CONST;
	param->isnull = true;
	param->value = (Datum) 0;
	return param;
}

/* The arguments that the job gives; given[] notes which. */
static void
add_given(JobCall *call, StringInfo text, const Signature *signature, Jsonb *arguments, bool *given)
{
	JsonbIterator *it = JsonbIteratorInit(&arguments->root);
	JsonbValue	name;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(arguments))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("arguments of a job are not an object"),
				 errdetail("They are given by name, as in {\"entity\": \"acme\"}.")));
	(void) JsonbIteratorNext(&it, &name, true); /* WJB_BEGIN_OBJECT */
	while (JsonbIteratorNext(&it, &name, true) == WJB_KEY)
	{
		int			arg = find_argument(signature, name.val.string.val, name.val.string.len);
		ParamExternData *param;
		char	   *content;
		Oid			input;
		Oid			io_param;

		(void) JsonbIteratorNext(&it, &value, true);
		if (arg < 0)
			ereport(ERROR,
					(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
					 errmsg("%s has no argument \"%.*s\"", signature->name, name.val.string.len, name.val.string.val)));
		given[arg] = true;
		param = add_parameter(call, text, signature, arg);
		content = value_text(&value, signature->types[arg], signature->names[arg]);
		getTypeInputInfo(signature->types[arg], &input, &io_param);
		param->isnull = content == NULL;
		param->value = OidInputFunctionCall(input, content, io_param, -1);
	}
}

/*
 * The rest: an argument "at" gets the moment, results of a procedure a null, and
 * others must have defaults.
 */
static void
add_others(JobCall *call, StringInfo text, const Signature *signature, TimestampTz at, const bool *given)
{
	int			input = -1;

	for (int i = 0; i < signature->nargs; i++)
	{
		const char *name = signature->names != NULL ? signature->names[i] : "";
		char		mode = signature->modes != NULL ? signature->modes[i] : FUNC_PARAM_IN;

		if (mode == FUNC_PARAM_OUT && signature->is_procedure && *name != '\0')
			(void) add_parameter(call, text, signature, i);
		if (mode == FUNC_PARAM_OUT || mode == FUNC_PARAM_TABLE)
			continue;
		input++;
		if (given[i])
			continue;
		if (is_input(signature, i) && strcmp(name, "at") == 0 && signature->types[i] == TIMESTAMPTZOID)
		{
			ParamExternData *param = add_parameter(call, text, signature, i);

			param->isnull = false;
			param->value = TimestampTzGetDatum(at);
		}
		else if (input < signature->nrequired)
			ereport(ERROR,
					(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
					 errmsg("argument %d of %s is missing", input + 1, signature->name),
					 errdetail("Arguments of a job are given by name; those left out need a default.")));
	}
}

/* A job's arguments as they are passed on. */
Jsonb *
job_arguments(const Job *job)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(job->arguments)));
}

/*
 * The call of a procedure with the arguments of a job, as of a moment.  What it
 * holds is palloc'd in the current context.
 */
JobCall *
job_call(const char *procedure, Jsonb *arguments, TimestampTz at)
{
	JobCall    *call = palloc0(sizeof(JobCall));
	Signature	signature;
	StringInfoData text;
	bool	   *given;

	call->function = job_procedure(procedure);
	signature_read(&signature, call->function);
	call->is_procedure = signature.is_procedure;
	call->argtypes = palloc(sizeof(Oid) * Max(signature.nargs, 1));
	call->params = makeParamList(signature.nargs);
	given = palloc0(sizeof(bool) * Max(signature.nargs, 1));
	initStringInfo(&text);
	appendStringInfo(&text, "%s %s(", signature.is_procedure ? "CALL" : "SELECT", signature.name);
	add_given(call, &text, &signature, arguments, given);
	add_others(call, &text, &signature, at, given);
	appendStringInfoChar(&text, ')');
	call->params->numParams = call->nargs;
	call->text = text.data;
	return call;
}

/* The function that an analyzed statement calls. */
static Oid
called_function(const Query *query)
{
	if (query->utilityStmt != NULL)
		return castNode(CallStmt, query->utilityStmt)->funcexpr->funcid;
	return castNode(FuncExpr, castNode(TargetEntry, linitial(query->targetList))->expr)->funcid;
}

/* The call as the server understands it; refuses when that is another function of the same name. */
List *
job_call_analyze(const JobCall *call)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(call->text));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(raw, call->text, call->argtypes,
															 call->nargs, NULL);
	Oid			called = called_function(linitial_node(Query, queries));

	if (called != call->function)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("with these arguments %s would be called", format_procedure_qualified(called)),
				 errhint("Give more arguments, or rename the procedure.")));
	return queries;
}

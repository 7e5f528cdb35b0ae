/*
 * pricing.c
 *		The SQL face of price schemes: charge, explain_charge and internal helpers.
 *
 * Parsing a scheme costs a hundred times what charging does, so parsed schemes
 * are kept with the call site (fn_extra) and recognized by their bytes: pointers
 * and even "stable" arguments may be reused for other values, bytes may not.
 */
#include "postgres.h"

#include "compat.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "lib/errors.h"
#include "pricing/pricing.h"

#define CACHE_SIZE 16

typedef struct CachedScheme
{
	MemoryContext context;		/* holds key and scheme; NULL: free */
	Size		size;
	char	   *key;			/* the jsonb's bytes without varlena header */
	PriceScheme *scheme;
} CachedScheme;

typedef struct SchemeCache
{
	int			latest;			/* entry found last */
	int			next;			/* entry to be replaced next */
	CachedScheme entries[CACHE_SIZE];
} SchemeCache;

PG_FUNCTION_INFO_V1(billing_charge);
PG_FUNCTION_INFO_V1(billing_explain_charge);
PG_FUNCTION_INFO_V1(billing_check_scheme);
PG_FUNCTION_INFO_V1(billing_charge_transactions);
PG_FUNCTION_INFO_V1(billing_charge_rate);

static inline bool
entry_matches(const CachedScheme *entry, const char *key, Size size)
{
	return entry->context != NULL && entry->size == size && memcmp(entry->key, key, size) == 0;
}

/* Parses into an entry; an error leaves it free. */
static void
entry_fill(CachedScheme *entry, MemoryContext parent, struct varlena *datum)
{
	MemoryContext old;

	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	entry->context = NULL;
	entry->context = AllocSetContextCreate(parent, "billing price scheme", ALLOCSET_SMALL_SIZES);
	entry->size = 0;
	old = MemoryContextSwitchTo(entry->context);
	entry->scheme = scheme_parse(DatumGetJsonbP(PointerGetDatum(datum)));
	entry->key = palloc(VARSIZE_ANY_EXHDR(datum));
	memcpy(entry->key, VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum));
	entry->size = VARSIZE_ANY_EXHDR(datum);
	MemoryContextSwitchTo(old);
}

/* The parsed form of argument n, which lives as long as the call site does. */
static const PriceScheme *
cached_scheme(FunctionCallInfo fcinfo, int n)
{
	struct varlena *datum = PG_GETARG_VARLENA_PP(n);
	SchemeCache *cache = fcinfo->flinfo->fn_extra;
	const char *key = VARDATA_ANY(datum);
	Size		size = VARSIZE_ANY_EXHDR(datum);

	if (cache == NULL)
		cache = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(SchemeCache));
	if (entry_matches(&cache->entries[cache->latest], key, size))
		return cache->entries[cache->latest].scheme;
	for (int i = 0; i < CACHE_SIZE; i++)
		if (entry_matches(&cache->entries[i], key, size))
			return cache->entries[cache->latest = i].scheme;
	entry_fill(&cache->entries[cache->next], fcinfo->flinfo->fn_mcxt, datum);
	cache->latest = cache->next;
	cache->next = (cache->next + 1) % CACHE_SIZE;
	return cache->entries[cache->latest].scheme;
}

/* charge(scheme jsonb, quantity numeric) returns numeric */
Datum
billing_charge(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(scheme_charge(cached_scheme(fcinfo, 0), PG_GETARG_NUMERIC(1)));
}

static void
put_numeric(Datum *values, bool *nulls, int column, Numeric value)
{
	values[column] = NumericGetDatum(value);
	nulls[column] = value == NULL;
}

/* Puts a row of explain_charge. */
static void
put_bracket(ReturnSetInfo *result, const ChargeBracket *bracket)
{
	Datum		values[7];
	bool		nulls[7];

	values[0] = Int32GetDatum(bracket->tier);
	nulls[0] = bracket->tier == 0;
	put_numeric(values, nulls, 1, bracket->from_quantity);
	put_numeric(values, nulls, 2, bracket->to_quantity);
	put_numeric(values, nulls, 3, bracket->quantity);
	put_numeric(values, nulls, 4, bracket->unit_amount);
	put_numeric(values, nulls, 5, bracket->flat_amount);
	put_numeric(values, nulls, 6, bracket->amount);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* explain_charge(scheme jsonb, quantity numeric) returns setof brackets */
Datum
billing_explain_charge(PG_FUNCTION_ARGS)
{
	ChargeBracket *brackets;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	count = scheme_explain(scheme_parse(PG_GETARG_JSONB_P(0)), PG_GETARG_NUMERIC(1), &brackets);
	for (int i = 0; i < count; i++)
		put_bracket((ReturnSetInfo *) fcinfo->resultinfo, &brackets[i]);
	return (Datum) 0;
}

/* check_scheme(scheme jsonb) returns boolean: true, or invalid_scheme */
Datum
billing_check_scheme(PG_FUNCTION_ARGS)
{
	(void) scheme_parse(PG_GETARG_JSONB_P(0));
	PG_RETURN_BOOL(true);
}

/* The elements of a numeric array, palloc'd; null is not allowed in it. */
static Numeric *
array_to_numerics(ArrayType *array, int *count)
{
	Datum	   *values;
	Numeric    *numbers;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("amounts must not contain null")));
	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &values, NULL, count);
	numbers = palloc(sizeof(Numeric) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		numbers[i] = DatumGetNumeric(values[i]);
	return numbers;
}

/* charge_transactions(scheme jsonb, amounts numeric[]) returns numeric */
Datum
billing_charge_transactions(PG_FUNCTION_ARGS)
{
	const PriceScheme *scheme = cached_scheme(fcinfo, 0);
	Numeric    *amounts;
	int			count;

	if (!scheme_is_transactional(scheme))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("price scheme does not charge transactions"),
				 errdetail("Only model \"percentage\" does.")));
	amounts = array_to_numerics(PG_GETARG_ARRAYTYPE_P(1), &count);
	PG_RETURN_NUMERIC(scheme_charge_transactions(scheme, amounts, count));
}

/* charge_rate(scheme jsonb, quantity numeric) returns (unit_amount, base_quantity), or null */
Datum
billing_charge_rate(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Numeric		unit_amount;
	Numeric		base_quantity;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!scheme_unit_amount(cached_scheme(fcinfo, 0), PG_GETARG_NUMERIC(1),
							&unit_amount, &base_quantity))
		PG_RETURN_NULL();
	values[0] = NumericGetDatum(unit_amount);
	values[1] = NumericGetDatum(base_quantity);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

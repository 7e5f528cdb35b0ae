/*
 * scheme.c
 *		Fuzz target: price schemes, parsed, charged and explained.
 *
 * An input is a quantity, white space and a scheme in JSON.  Claimed is: a
 * scheme that is refused is refused as invalid or as beyond numeric; a charge
 * has the same value and scale whether computed in integers or in numeric; it is
 * the sum of its explanation and what the naive reference says; it does not fall
 * while the quantity grows, where the model promises that; one transaction is
 * charged like any quantity.
 */
#include "fuzz.h"

#include "access/xact.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"

#include "lib/errors.h"
#include "lib/num.h"
#include "pricing/scheme.h"

/* Charges of more digits cost too much time to be compared with the slow reference. */
#define REFERENCE_DIGITS 400

typedef struct Trial
{
	const char *quantity_text;
	const char *scheme_text;
	Numeric		quantity;
	Jsonb	   *json;
	PriceScheme *scheme;
} Trial;

static Numeric
read_input(void *argument)
{
	Trial	   *trial = argument;

	trial->quantity = num_in(trial->quantity_text);
	trial->json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trial->scheme_text)));
	return trial->quantity;
}

static Numeric
parse(void *argument)
{
	Trial	   *trial = argument;

	trial->scheme = scheme_parse(trial->json);
	return NULL;
}

static Numeric
charge_any(void *argument)
{
	Trial	   *trial = argument;

	return scheme_charge(trial->scheme, trial->quantity);
}

static Numeric
charge_numeric(void *argument)
{
	Trial	   *trial = argument;

	return scheme_charge_numeric(trial->scheme, trial->quantity);
}

static Numeric
charge_transaction(void *argument)
{
	Trial	   *trial = argument;

	return scheme_charge_transactions(trial->scheme, &trial->quantity, 1);
}

/* The sum of the brackets, each of which must be what its columns say. */
static Numeric
explain(void *argument)
{
	Trial	   *trial = argument;
	ChargeBracket *brackets;
	int			count = scheme_explain(trial->scheme, trial->quantity, &brackets);
	Numeric		sum = num_from_int(0);

	for (int i = 0; i < count; i++)
	{
		ChargeBracket *bracket = &brackets[i];
		Numeric		amount = num_zero_or(bracket->flat_amount);

		if (bracket->tier != 0)
		{
			if (bracket->unit_amount != NULL)
				amount = num_add(amount, num_mul(bracket->quantity, bracket->unit_amount));
			fuzz_claim(num_cmp(amount, bracket->amount) == 0, "a bracket is quantity x unit amount + flat amount");
		}
		sum = num_add(sum, bracket->amount);
	}
	return sum;
}

/* The charge that a rate gives, where there is one; NULL: none. */
static Numeric
charge_of_rate(void *argument)
{
	Trial	   *trial = argument;
	Numeric		unit_amount;
	Numeric		base_quantity;

	if (!scheme_unit_amount(trial->scheme, trial->quantity, &unit_amount, &base_quantity))
		return NULL;
	fuzz_claim(num_cmp(num_mul(scheme_charge(trial->scheme, trial->quantity), base_quantity),
					   num_mul(trial->quantity, unit_amount)) == 0, "a rate gives the charge");
	return NULL;
}

static Numeric
reference(void *argument)
{
	Trial	   *trial = argument;
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	function;
	Datum		result;

	fmgr_info(fuzz_reference, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum) {JsonbPGetDatum(trial->json), false};
	fcinfo->args[1] = (NullableDatum) {NumericGetDatum(trial->quantity), false};
	result = FunctionCallInvoke(fcinfo);
	return fcinfo->isnull ? NULL : DatumGetNumeric(result);
}

/* The reference's result; it runs in a subtransaction, for it may fail in the middle of a query. */
static Numeric
attempt_reference(Trial *trial, int *sqlstate)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Numeric		result;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	result = fuzz_attempt(reference, trial, sqlstate);
	if (*sqlstate == 0)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

static bool
is_monotone(const PriceScheme *scheme)
{
	return scheme->model != MODEL_STAIRSTEP && scheme->model != MODEL_VOLUME;
}

/* A quantity of more never costs less, if both can be charged. */
static void
claim_monotone(Trial *trial, Numeric amount)
{
	Trial		more = *trial;
	Numeric		charged;
	int			sqlstate;

	more.quantity = num_add(trial->quantity, num_in("0.5"));
	charged = fuzz_attempt(charge_any, &more, &sqlstate);
	if (is_monotone(trial->scheme) && sqlstate == 0)
		fuzz_claim(num_cmp(charged, amount) >= 0, "more does not cost less");
}

static void
claim_reference(Trial *trial, Numeric amount)
{
	int			sqlstate;
	Numeric		expected;

	if (strlen(num_out(amount)) > REFERENCE_DIGITS || strlen(num_out(trial->quantity)) > REFERENCE_DIGITS)
		return;
	expected = attempt_reference(trial, &sqlstate);
	if (sqlstate == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE)
		return;
	fuzz_claim(sqlstate == 0, "the reference takes every valid scheme");
	fuzz_claim(expected != NULL && num_cmp(expected, amount) == 0, "the charge is the reference's");
}

/* All claims about the charge of a scheme that was accepted. */
static void
claim_charges(Trial *trial)
{
	static const int refusals[] = {ERRCODE_BILLING_QUANTITY_OUT_OF_BRACKETS,
	ERRCODE_BILLING_INVALID_QUANTITY, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, 0};
	int			sqlstate;
	int			other;
	Numeric		amount = fuzz_attempt(charge_any, trial, &sqlstate);
	Numeric		second = fuzz_attempt(charge_numeric, trial, &other);

	fuzz_claim(fuzz_is_among(sqlstate, refusals, lengthof(refusals)), "charge raises what is documented");
	fuzz_claim(other == sqlstate, "integers and numeric raise the same");
	if (sqlstate != 0)
		return;
	fuzz_claim(strcmp(num_out(amount), num_out(second)) == 0, "integers and numeric agree, digit by digit");
	second = fuzz_attempt(explain, trial, &other);
	if (other == 0)
		fuzz_claim(num_cmp(amount, second) == 0, "the explanation sums to the charge");
	else
		fuzz_claim(other == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "what can be charged can be explained");
	(void) fuzz_attempt(charge_of_rate, trial, &other);
	if (scheme_is_transactional(trial->scheme) && trial->scheme->free_count == NULL &&
		trial->scheme->free_amount == NULL)
	{
		second = fuzz_attempt(charge_transaction, trial, &other);
		fuzz_claim(other == 0 && num_cmp(amount, second) == 0, "a transaction is charged like a quantity");
	}
	claim_monotone(trial, amount);
	claim_reference(trial, amount);
}

int
fuzz_scheme(const uint8_t *data, size_t size)
{
	static const int refusals[] = {ERRCODE_BILLING_INVALID_SCHEME, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE};
	char	   *text = pnstrdup((const char *) data, size);
	char	   *scheme = strpbrk(text, " \n");
	Trial		trial = {.quantity_text = text};
	int			sqlstate;

	if (scheme == NULL || !pg_verifymbstr(text, strlen(text), true))
		return 0;
	*scheme = '\0';
	trial.scheme_text = scheme + 1;
	(void) fuzz_attempt(read_input, &trial, &sqlstate);
	if (sqlstate != 0)
		return 0;
	(void) fuzz_attempt(parse, &trial, &sqlstate);
	if (sqlstate == 0)
		claim_charges(&trial);
	else
		fuzz_claim(fuzz_is_among(sqlstate, refusals, lengthof(refusals)),
				   "a refused scheme is invalid or beyond numeric");
	return 0;
}

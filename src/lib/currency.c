/*
 * currency.c
 *		The currencies of ISO 4217, compiled in.
 *
 * The engine rounds without reading a table; setup() copies the list to
 * billing.currency for people and foreign keys.  A code without minor units
 * (gold, test codes) is no currency one can bill in.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "lib/argument.h"
#include "lib/currency.h"
#include "lib/errors.h"

typedef struct Currency
{
	const char *code;
	const char *numeric_code;
	int			minor_units;	/* -1: none */
	const char *name;			/* UTF-8 */
} Currency;

static const Currency currencies[] = {
#define X(code, numeric_code, minor_units, name) {code, numeric_code, minor_units, name},
#include "lib/currency_data.h"
#undef X
};

PG_FUNCTION_INFO_V1(billing_currencies);
PG_FUNCTION_INFO_V1(billing_check_currency);

/* The row of a code, or NULL. */
static const Currency *
currency_find(const char *code)
{
	int			low = 0;
	int			high = (int) lengthof(currencies) - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = strcmp(code, currencies[middle].code);

		if (order == 0)
			return &currencies[middle];
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return NULL;
}

/* Decimals of an amount in the currency, 0 to 4.  Raises unknown_currency. */
int
currency_minor_units(const char *code)
{
	const Currency *currency = currency_find(code);

	if (currency == NULL || currency->minor_units < 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_CURRENCY),
				 errmsg("no currency has the code \"%s\"", code),
				 currency ? errdetail("ISO 4217 gives this code no minor units.") : 0,
				 errhint("Use an ISO 4217 code such as EUR.")));
	return currency->minor_units;
}

/* The name in the database's encoding; outside UTF-8 other letters become question marks. */
static text *
currency_name(const Currency *currency)
{
	char	   *name = pstrdup(currency->name);
	char	   *end = name;

	if (GetDatabaseEncoding() == PG_UTF8)
		return cstring_to_text(name);
	for (const char *from = name; *from != '\0'; from++)
		if ((*from & 0xC0) != 0x80) /* not the rest of a letter */
			*end++ = IS_HIGHBIT_SET(*from) ? '?' : *from;
	return cstring_to_text_with_len(name, end - name);
}

/* billing_internal.currencies(): what one can bill in. */
Datum
billing_currencies(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(currencies); i++)
	{
		const Currency *currency = &currencies[i];
		bool		nulls[4] = {false};
		Datum		values[4];

		if (currency->minor_units < 0)
			continue;
		values[0] = CStringGetTextDatum(currency->code);
		values[1] = CStringGetTextDatum(currency->numeric_code);
		values[2] = Int32GetDatum(currency->minor_units);
		values[3] = PointerGetDatum(currency_name(currency));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* billing_internal.check_currency(text) */
Datum
billing_check_currency(PG_FUNCTION_ARGS)
{
	argument_not_null(fcinfo, 0, "currency");
	(void) currency_minor_units(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

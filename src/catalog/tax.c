/*
 * tax.c
 *		Tax rates, read once per run (doc/rules.md 6).
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/tax.h"
#include "lib/errors.h"
#include "lib/spi.h"

static TaxPoint
tax_point_of(const char *name)
{
	return strcmp(name, "service_start") == 0 ? TAX_POINT_SERVICE_START
		: strcmp(name, "issue_date") == 0 ? TAX_POINT_ISSUE_DATE
		: strcmp(name, "split") == 0 ? TAX_POINT_SPLIT : TAX_POINT_SERVICE_END;
}

/* All rates, in the current context; the caller is connected to SPI. */
TaxTable *
tax_table_load(bool read_only)
{
	static SpiQuery query = {
		.text = "SELECT r.entity, r.tax, r.tax_status, c.tax_point, r.valid_from, r.category, r.rate, r.reason"
		" FROM billing.tax_rate r JOIN billing.tax_class c ON c.code = r.tax"
		" ORDER BY 1, 2, 3, r.valid_from DESC"
	};
	TaxTable   *table = palloc(sizeof(TaxTable));

	table->count = (int) query_run(&query, NULL, NULL, read_only);
	table->rates = palloc0(sizeof(TaxRate) * Max(table->count, 1));
	for (int i = 0; i < table->count; i++)
	{
		TaxRate    *rate = &table->rates[i];

		rate->entity = query_text(i, 1);
		rate->tax = query_text(i, 2);
		rate->tax_status = query_text(i, 3);
		rate->tax_point = tax_point_of(query_text(i, 4));
		rate->valid_from = DatumGetDateADT(query_value(i, 5));
		rate->category = query_text(i, 6);
		rate->rate = DatumGetNumericCopy(query_value(i, 7));
		rate->reason = query_text(i, 8);
	}
	return table;
}

static bool
is_for(const TaxRate *rate, const char *entity, const char *tax, const char *tax_status)
{
	return strcmp(rate->entity, entity) == 0 && strcmp(rate->tax, tax) == 0 &&
		strcmp(rate->tax_status, tax_status) == 0;
}

/*
 * The first day after the given one on which a class whose rate changes cut
 * pieces takes another rate; DATEVAL_NOEND where there is none.
 */
DateADT
tax_next_change(const TaxTable *table, const char *entity, const char *tax, const char *tax_status,
				DateADT after)
{
	DateADT		next = DATEVAL_NOEND;

	for (int i = 0; i < table->count; i++)
	{
		const TaxRate *rate = &table->rates[i];

		if (rate->tax_point == TAX_POINT_SPLIT && rate->valid_from > after && rate->valid_from < next &&
			is_for(rate, entity, tax, tax_status))
			next = rate->valid_from;
	}
	return next;
}

/*
 * The rate for seller, class and kind of buyer at the class's tax point; the
 * dates are those of the first and last day of service and of issue in the
 * seller's zone.  no_tax_rate where none is valid.
 */
const TaxRate *
tax_rate_at(const TaxTable *table, const char *entity, const char *tax, const char *tax_status,
			DateADT service_start, DateADT service_end, DateADT issued_on)
{
	DateADT		point = issued_on;

	for (int i = 0; i < table->count; i++)
	{
		const TaxRate *rate = &table->rates[i];

		if (!is_for(rate, entity, tax, tax_status))
			continue;
		point = rate->tax_point == TAX_POINT_ISSUE_DATE ? issued_on
			: rate->tax_point == TAX_POINT_SERVICE_END ? service_end : service_start;
		if (rate->valid_from <= point)
			return rate;
	}
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_NO_TAX_RATE),
			 errmsg("no rate of tax class \"%s\" for tax status \"%s\" of entity \"%s\" on %s",
					tax, tax_status, entity,
					DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(point)))),
			 errhint("Add it with billing.create_tax_rate().")));
}

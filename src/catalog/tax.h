/*
 * tax.h
 *		Tax rates, read once per run (doc/rules.md 6).
 */
#ifndef BILLING_TAX_H
#define BILLING_TAX_H

#include "utils/date.h"
#include "utils/numeric.h"

typedef enum TaxPoint
{
	TAX_POINT_SERVICE_END,
	TAX_POINT_SERVICE_START,
	TAX_POINT_ISSUE_DATE,
	TAX_POINT_SPLIT				/* a change of rate cuts the piece */
} TaxPoint;

typedef struct TaxRate
{
	char	   *entity;
	char	   *tax;
	char	   *tax_status;
	TaxPoint	tax_point;
	DateADT		valid_from;
	char	   *category;
	Numeric		rate;			/* percent */
	char	   *reason;			/* or NULL */
} TaxRate;

typedef struct TaxTable
{
	TaxRate    *rates;			/* by entity, tax, tax_status, valid_from descending */
	int			count;
} TaxTable;

extern TaxTable *tax_table_load(bool read_only);
extern const TaxRate *tax_rate_at(const TaxTable *table, const char *entity, const char *tax,
								  const char *tax_status, DateADT service_start,
								  DateADT service_end, DateADT issued_on);
extern DateADT tax_next_change(const TaxTable *table, const char *entity, const char *tax,
							   const char *tax_status, DateADT after);

#endif							/* BILLING_TAX_H */

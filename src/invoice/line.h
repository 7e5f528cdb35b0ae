/*
 * line.h
 *		The rows of a document, as the tables hold them.
 */
#ifndef BILLING_LINE_H
#define BILLING_LINE_H

#include "invoice/columns.h"
#include "invoice/document.h"

extern void line_row(const AccountTerms *terms, const Document *document, int line_no,
					 Datum *values, bool *nulls);
extern void charge_row(const AccountTerms *terms, const Document *document, int line_no,
					   const ChargeRow *charge, Datum *values, bool *nulls);
extern void use_row(const AccountTerms *terms, const Document *document, const DiscountUse *use,
					Datum *values, bool *nulls);
extern void tax_row(const AccountTerms *terms, const Document *document, const TaxTotal *tax,
					Datum *values, bool *nulls);
extern void header_row(const AccountTerms *terms, const Document *document, Datum *values, bool *nulls);

#endif							/* BILLING_LINE_H */

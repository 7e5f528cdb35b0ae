/*
 * canonical.h
 *		The canonical form of a document, which its seal covers.
 */
#ifndef BILLING_CANONICAL_H
#define BILLING_CANONICAL_H

#include "invoice/columns.h"
#include "lib/hash.h"
#include "lib/stringinfo.h"

extern void canonical_begin(StringInfo form);
extern void canonical_row(StringInfo form, const char *part, const Column *columns, int ncolumns,
						  const Datum *values, const bool *nulls);
extern Digest canonical_hash(StringInfo form);
extern Digest canonical_stored_document(int64 account_id, int64 invoice_id, bool read_only,
										bool *found);

#endif							/* BILLING_CANONICAL_H */

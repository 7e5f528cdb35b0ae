/*
 * columns.h
 *		The columns of documents: what is written, and what the seal covers.
 *
 * In the order of the tables.  The canonical form of a document is made of the
 * sealed columns that are not null, so a column added later leaves the hashes
 * of older documents as they are.
 */
#ifndef BILLING_COLUMNS_H
#define BILLING_COLUMNS_H

#include "catalog/pg_type.h"
#include "lib/spi.h"

#define HEADER_COLUMNS(X) \
	X(account_id, INT8OID, true) X(id, INT8OID, true) X(kind, TEXTOID, true) \
	X(status, TEXTOID, false) X(entity, TEXTOID, true) X(series, TEXTOID, true) \
	X(currency, TEXTOID, true) X(tax_scope, TEXTOID, true) X(billing_group, TEXTOID, true) \
	X(billed_at, TIMESTAMPTZOID, true) X(period_start, TIMESTAMPTZOID, true) \
	X(period_end, TIMESTAMPTZOID, true) X(net_total, NUMERICOID, true) \
	X(tax_total, NUMERICOID, true) X(total, NUMERICOID, true) X(rounding_amount, NUMERICOID, true) \
	X(amount_paid, NUMERICOID, false) X(amount_credited, NUMERICOID, false) \
	X(payment_terms_days, INT4OID, true) X(credits_invoice_id, INT8OID, true) \
	X(reason, TEXTOID, true) X(purchase_order, TEXTOID, true) X(buyer_reference, TEXTOID, true) \
	X(seller, JSONBOID, true) X(buyer, JSONBOID, true) X(metadata, JSONBOID, true) \
	X(finalize_after, TIMESTAMPTZOID, false) X(claims_invoice_id, INT8OID, true)

#define LINE_COLUMNS(X) \
	X(account_id, INT8OID, true) X(invoice_id, INT8OID, true) X(line_no, INT4OID, true) \
	X(nature, TEXTOID, true) X(subscription_id, INT8OID, true) X(item_id, INT8OID, true) \
	X(kind, TEXTOID, true) X(schedule_version, INT4OID, true) X(period_no, INT8OID, true) \
	X(price, TEXTOID, true) X(price_version, INT4OID, true) X(product, TEXTOID, true) \
	X(description, TEXTOID, true) X(quantity, NUMERICOID, true) X(unit_code, TEXTOID, true) \
	X(unit_amount, NUMERICOID, true) X(base_quantity, NUMERICOID, true) X(brackets, JSONBOID, true) \
	X(gross_amount, NUMERICOID, true) X(discount_amount, NUMERICOID, true) \
	X(increment_amount, NUMERICOID, true) X(amount, NUMERICOID, true) \
	X(document_discount, NUMERICOID, true) X(net_amount, NUMERICOID, true) \
	X(tax_inclusive, BOOLOID, true) X(tax, TEXTOID, true) X(tax_category, TEXTOID, true) \
	X(tax_rate, NUMERICOID, true) X(tax_reason, TEXTOID, true) \
	X(period_start, TIMESTAMPTZOID, true) X(period_end, TIMESTAMPTZOID, true) \
	X(corrects_invoice_id, INT8OID, true) X(corrects_line_no, INT4OID, true) \
	X(plan, TEXTOID, true) X(scheme, JSONBOID, true)

#define TAX_COLUMNS(X) \
	X(account_id, INT8OID, true) X(invoice_id, INT8OID, true) X(category, TEXTOID, true) \
	X(rate, NUMERICOID, true) X(taxable_amount, NUMERICOID, true) X(tax_amount, NUMERICOID, true) \
	X(reason, TEXTOID, true)

#define USE_COLUMNS(X) \
	X(account_id, INT8OID, false) X(discount_id, INT8OID, false) X(invoice_id, INT8OID, false) \
	X(origin_invoice_id, INT8OID, false) X(currency, TEXTOID, false) X(amount, NUMERICOID, false)

#define SEAL_COLUMNS(X) \
	X(account_id, INT8OID, false) X(invoice_id, INT8OID, false) X(series, TEXTOID, false) \
	X(position, INT8OID, false) X(number, TEXTOID, false) X(issued_on, DATEOID, false) \
	X(payload_hash, BYTEAOID, false) X(chain_hash, BYTEAOID, false)

#define CHARGE_COLUMNS(X) \
	X(account_id, INT8OID, false) X(item_id, INT8OID, false) X(kind, TEXTOID, false) \
	X(period_start, TIMESTAMPTZOID, false) X(ordinal, INT8OID, false) X(revision, INT4OID, false) \
	X(period_end, TIMESTAMPTZOID, false) X(subscription_id, INT8OID, false) \
	X(schedule_version, INT4OID, false) X(period_no, INT8OID, false) X(amount, NUMERICOID, false) \
	X(granted, NUMERICOID, false) X(quantity, NUMERICOID, false) X(price, TEXTOID, false) \
	X(price_version, INT4OID, false) X(invoice_id, INT8OID, false) X(line_no, INT4OID, false) \
	X(gross_amount, NUMERICOID, false) X(discount_amount, NUMERICOID, false) \
	X(increment_amount, NUMERICOID, false) X(document_discount, NUMERICOID, false) \
	X(scheme, JSONBOID, false)

#define X(name, type, sealed) HEADER_##name,
typedef enum HeaderColumn
{
	HEADER_COLUMNS(X) HEADER_COUNT
} HeaderColumn;
#undef X
#define X(name, type, sealed) LINE_##name,
typedef enum LineColumn
{
	LINE_COLUMNS(X) LINE_COUNT
} LineColumn;
#undef X
#define X(name, type, sealed) TAX_##name,
typedef enum TaxColumn
{
	TAX_COLUMNS(X) TAX_COUNT
} TaxColumn;
#undef X
#define X(name, type, sealed) USE_##name,
typedef enum UseColumn
{
	USE_COLUMNS(X) USE_COUNT
} UseColumn;
#undef X
#define X(name, type, sealed) SEAL_##name,
typedef enum SealColumn
{
	SEAL_COLUMNS(X) SEAL_COUNT
} SealColumn;
#undef X
#define X(name, type, sealed) CHARGE_##name,
typedef enum ChargeColumn
{
	CHARGE_COLUMNS(X) CHARGE_COUNT
} ChargeColumn;
#undef X

extern const Column header_columns[HEADER_COUNT];
extern const Column line_columns[LINE_COUNT];
extern const Column tax_columns[TAX_COUNT];
extern const Column use_columns[USE_COUNT];
extern const Column seal_columns[SEAL_COUNT];
extern const Column charge_columns[CHARGE_COUNT];

#endif							/* BILLING_COLUMNS_H */

/*
 * line.c
 *		The rows of a document, as the tables hold them.
 *
 * Values are palloc'd in the current context.  Money becomes numeric here and
 * nowhere else on the way to the tables.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "invoice/line.h"
#include "lib/amount.h"
#include "lib/num.h"

/* The row being filled, so that setting a value reads like the column list. */
typedef struct Row
{
	Datum	   *values;
	bool	   *nulls;
	int			minor_units;
	int64		minor;			/* the amount set last, and as numeric: */
	Numeric		money;			/* neighbours are often equal */
} Row;

static Row
row_begin(const AccountTerms *terms, Datum *values, bool *nulls, int count)
{
	memset(nulls, true, count);
	return (Row)
	{
		.values = values, .nulls = nulls, .minor_units = terms->minor_units
	};
}

static inline void
set(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static inline void
set_text(Row *row, int column, const char *text)
{
	if (text != NULL)
		set(row, column, CStringGetTextDatum(text));
}

static inline void
set_money(Row *row, int column, int64 minor)
{
	if (row->money == NULL || row->minor != minor)
	{
		row->minor = minor;
		row->money = amount_numeric(minor, row->minor_units);
	}
	set(row, column, NumericGetDatum(row->money));
}

static inline void
set_numeric(Row *row, int column, Numeric value)
{
	if (value != NULL)
		set(row, column, NumericGetDatum(value));
}

static void
append_member(StringInfo json, const char *name, Numeric value)
{
	if (value != NULL)
		appendStringInfo(json, ", \"%s\": \"%s\"", name, num_out(value));
}

/* The brackets behind a charge as jsonb; amounts are strings. */
static Datum
brackets_of(const Price *price, Numeric quantity)
{
	ChargeBracket *brackets;
	int			count = scheme_explain(price->scheme, quantity, &brackets);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoString(&json, ", ");
		if (brackets[i].tier > 0)
			appendStringInfo(&json, "{\"tier\": %d", brackets[i].tier);
		else
			appendStringInfoString(&json, "{\"tier\": null");
		append_member(&json, "from_quantity", brackets[i].from_quantity);
		append_member(&json, "to_quantity", brackets[i].to_quantity);
		append_member(&json, "quantity", brackets[i].quantity);
		append_member(&json, "unit_amount", brackets[i].unit_amount);
		append_member(&json, "flat_amount", brackets[i].flat_amount);
		append_member(&json, "amount", brackets[i].amount);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * Quantity, unit amount or brackets of a first charge.  unit_amount stands
 * only where quantity x unit_amount / base_quantity rounds to the amount.
 */
static void
set_rating(Row *row, const DocumentLine *line)
{
	const Piece *piece = line->delta->piece;
	Numeric		unit_amount,
				base_quantity;

	if (piece->kind == KIND_MINIMUM)
		return;
	set_numeric(row, LINE_quantity, piece->quantity);
	if (piece->kind == KIND_INSTALMENT)
	{
		set_money(row, LINE_unit_amount, piece->money.gross);
		set_numeric(row, LINE_base_quantity, piece->quantity);
		return;
	}
	if (line->price->aggregation == AGGREGATE_TRANSACTIONS)
		return;
	if (!scheme_unit_amount(line->price->scheme, piece->quantity, &unit_amount, &base_quantity))
		set(row, LINE_brackets, brackets_of(line->price, piece->quantity));
	else if (piece->whole || line->price->aggregation != AGGREGATE_NONE)
	{
		set_numeric(row, LINE_unit_amount, unit_amount);
		set_numeric(row, LINE_base_quantity, base_quantity);
	}
}

/* What a correction adds or takes, positive on credit notes, and the line that it corrects. */
static void
set_correction(Row *row, const Document *document, const DocumentLine *line)
{
	const LiveCharge *live = line->delta->live;
	Numeric		quantity = line->delta->quantity;

	if (quantity != NULL)
		set_numeric(row, LINE_quantity, document->credit_note ? num_neg(quantity) : quantity);
	set(row, LINE_corrects_invoice_id, Int64GetDatum(live->origin_invoice));
	set(row, LINE_corrects_line_no, Int32GetDatum(live->origin_line));
}

/* Fills LINE_COUNT values of line line_no (from 1). */
void
line_row(const AccountTerms *terms, const Document *document, int line_no, Datum *values, bool *nulls)
{
	const DocumentLine *line = &document->lines[line_no - 1];
	const Delta *delta = line->delta;
	const Price *price = line->price;
	Row			row = row_begin(terms, values, nulls, LINE_COUNT);

	set(&row, LINE_account_id, Int64GetDatum(terms->account_id));
	set(&row, LINE_invoice_id, Int64GetDatum(document->id));
	set(&row, LINE_line_no, Int32GetDatum(line_no));
	set_text(&row, LINE_nature, delta->correction ? "correction" : "charge");
	set(&row, LINE_subscription_id, Int64GetDatum(line->subscription_id));
	if (line->item_id != 0)
		set(&row, LINE_item_id, Int64GetDatum(line->item_id));
	set_text(&row, LINE_kind, kind_name(delta->kind));
	set(&row, LINE_schedule_version, Int32GetDatum(delta->version));
	set(&row, LINE_period_no, Int64GetDatum(delta->period_no));
	set_text(&row, LINE_price, price->code);
	if (price->code != NULL)
		set(&row, LINE_price_version, Int32GetDatum(price->version));
	set_text(&row, LINE_product, price->product);
	set_text(&row, LINE_description, delta->item && delta->item->description ? delta->item->description : price->name);
	if (delta->correction)
		set_correction(&row, document, line);
	else
		set_rating(&row, line);
	set_text(&row, LINE_unit_code, price->unit_code);
	set_money(&row, LINE_gross_amount, line->money.gross);
	set_money(&row, LINE_amount, line->money.amount);
	set_money(&row, LINE_net_amount, line->net);
	set_money(&row, LINE_discount_amount, line->money.discount);
	set_money(&row, LINE_increment_amount, line->money.increment);
	set_money(&row, LINE_document_discount, line->document_discount);
	set(&row, LINE_tax_inclusive, BoolGetDatum(price->tax_inclusive));
	set_text(&row, LINE_tax, price->tax);
	set_text(&row, LINE_tax_category, line->category);
	set_numeric(&row, LINE_tax_rate, line->rate);
	set_text(&row, LINE_tax_reason, line->reason);
	set(&row, LINE_period_start, TimestampTzGetDatum(line->start));
	set(&row, LINE_period_end, TimestampTzGetDatum(line->end));
	set_text(&row, LINE_plan, delta->plan);
	if (price->override != NULL)
		set(&row, LINE_scheme, JsonbPGetDatum(price->override));
}

/* Amount of a charge; its parts only where they say more than the amount. */
static void
set_parts(Row *row, Money money)
{
	set_money(row, CHARGE_amount, money.amount);
	if (money.gross != money.amount)
		set_money(row, CHARGE_gross_amount, money.gross);
	if (money.discount != 0)
		set_money(row, CHARGE_discount_amount, money.discount);
	if (money.increment != 0)
		set_money(row, CHARGE_increment_amount, money.increment);
}

/* Fills CHARGE_COUNT values: a range live from now on, carried by the line (doc/rules.md P7). */
void
charge_row(const AccountTerms *terms, const Document *document, int line_no, const ChargeRow *charge,
		   Datum *values, bool *nulls)
{
	const DocumentLine *line = &document->lines[line_no - 1];
	const Delta *delta = line->delta;
	int64		document_discount = delta->correction ? charge->document_discount : line->document_discount;
	Row			row = row_begin(terms, values, nulls, CHARGE_COUNT);

	set(&row, CHARGE_account_id, Int64GetDatum(terms->account_id));
	set(&row, CHARGE_item_id, Int64GetDatum(delta->item_id));
	set_text(&row, CHARGE_kind, kind_name(delta->kind));
	set(&row, CHARGE_period_start, TimestampTzGetDatum(charge->start));
	set(&row, CHARGE_ordinal, Int64GetDatum(delta->ordinal));
	set(&row, CHARGE_revision, Int32GetDatum(charge->revision));
	set(&row, CHARGE_period_end, TimestampTzGetDatum(charge->end));
	set(&row, CHARGE_subscription_id, Int64GetDatum(delta->subscription_id));
	set(&row, CHARGE_schedule_version, Int32GetDatum(delta->version));
	set(&row, CHARGE_period_no, Int64GetDatum(delta->period_no));
	set_parts(&row, charge->money);
	if (document_discount != 0)
		set_money(&row, CHARGE_document_discount, document_discount);
	set_money(&row, CHARGE_granted, charge->granted);
	set_numeric(&row, CHARGE_quantity, charge->quantity);
	set_text(&row, CHARGE_price, charge->price->code);
	if (charge->price->code != NULL)
		set(&row, CHARGE_price_version, Int32GetDatum(charge->price->version));
	set(&row, CHARGE_invoice_id, Int64GetDatum(document->id));
	set(&row, CHARGE_line_no, Int32GetDatum(line_no));
	if (charge->price->override != NULL)
		set(&row, CHARGE_scheme, JsonbPGetDatum(charge->price->override));
}

/* Fills TAX_COUNT values. */
void
tax_row(const AccountTerms *terms, const Document *document, const TaxTotal *tax, Datum *values, bool *nulls)
{
	Row			row = row_begin(terms, values, nulls, TAX_COUNT);

	set(&row, TAX_account_id, Int64GetDatum(terms->account_id));
	set(&row, TAX_invoice_id, Int64GetDatum(document->id));
	set_text(&row, TAX_category, tax->category);
	set_numeric(&row, TAX_rate, tax->rate);
	set_money(&row, TAX_taxable_amount, tax->net);
	set_money(&row, TAX_tax_amount, tax->tax);
	set_text(&row, TAX_reason, tax->reason);
}

/* Fills USE_COUNT values. */
void
use_row(const AccountTerms *terms, const Document *document, const DiscountUse *use, Datum *values, bool *nulls)
{
	Row			row = row_begin(terms, values, nulls, USE_COUNT);

	set(&row, USE_account_id, Int64GetDatum(terms->account_id));
	set(&row, USE_discount_id, Int64GetDatum(use->discount_id));
	set(&row, USE_invoice_id, Int64GetDatum(document->id));
	set(&row, USE_origin_invoice_id, Int64GetDatum(use->origin_invoice != 0 ? use->origin_invoice : document->id));
	set_text(&row, USE_currency, terms->currency);
	set_money(&row, USE_amount, use->amount);
}

/* Metadata of the account and over it that of the document's subscriptions. */
static Datum
metadata_of(const AccountTerms *terms, const Document *document)
{
	Datum		metadata = JsonbPGetDatum(terms->metadata);
	const Subscription *last = NULL;

	for (int i = 0; i < document->nlines; i++)
	{
		const SubscriptionItem *item = document->lines[i].delta->item;

		if (item == NULL || item->subscription == last)
			continue;
		last = item->subscription;
		if (!JB_ROOT_COUNT(last->metadata))
			continue;
		metadata = DirectFunctionCall2(jsonb_concat, metadata, JsonbPGetDatum(last->metadata));
	}
	return metadata;
}

/* The invoice that all lines of a credit note correct; 0: several. */
static int64
credited_invoice(const Document *document)
{
	int64		id = document->lines[0].delta->live->origin_invoice;

	for (int i = 1; i < document->nlines; i++)
		if (document->lines[i].delta->live->origin_invoice != id)
			return 0;
	return id;
}

/* What the kind of a document decides: series, status, what is settled. */
static void
set_kind(Row *row, const AccountTerms *terms, const Document *document)
{
	int64		payable = document->net + document->tax + document->rounding;
	int64		settled = 0;

	if (document->credit_note && credited_invoice(document) != 0)
		set(row, HEADER_credits_invoice_id, Int64GetDatum(credited_invoice(document)));
	if (document->credit_note)
		set_text(row, HEADER_reason, "recalculated");
	for (int i = 0; document->finish && i < document->nallocations; i++)
		settled += document->allocations[i].amount;
	set_text(row, HEADER_kind, document->credit_note ? "credit_note" : "invoice");
	set_text(row, HEADER_series, document->credit_note ? terms->credit_note_series : terms->invoice_series);
	set_text(row, HEADER_status, !document->finish ? "draft" : settled == payable ? "paid" : "open");
	set_money(row, HEADER_amount_paid, 0);
	set_money(row, HEADER_amount_credited, settled);
}

/* Fills HEADER_COUNT values. */
void
header_row(const AccountTerms *terms, const Document *document, Datum *values, bool *nulls)
{
	Row			row = row_begin(terms, values, nulls, HEADER_COUNT);

	set(&row, HEADER_account_id, Int64GetDatum(terms->account_id));
	set(&row, HEADER_id, Int64GetDatum(document->id));
	set_kind(&row, terms, document);
	set_text(&row, HEADER_entity, terms->entity);
	set_text(&row, HEADER_currency, terms->currency);
	set_text(&row, HEADER_tax_scope, document->lines[0].scope);
	set_text(&row, HEADER_billing_group, document->lines[0].group);
	set(&row, HEADER_billed_at, TimestampTzGetDatum(document->due));
	set(&row, HEADER_period_start, TimestampTzGetDatum(document->period_start));
	set(&row, HEADER_period_end, TimestampTzGetDatum(document->period_end));
	set_money(&row, HEADER_net_total, document->net);
	set_money(&row, HEADER_tax_total, document->tax);
	set_money(&row, HEADER_total, amount_add(document->net, document->tax));
	set_money(&row, HEADER_rounding_amount, document->rounding);
	set(&row, HEADER_payment_terms_days, Int32GetDatum(terms->payment_terms_days));
	set_text(&row, HEADER_purchase_order, document->lines[0].purchase_order);
	set_text(&row, HEADER_buyer_reference, terms->buyer_reference);
	set(&row, HEADER_seller, JsonbPGetDatum(terms->seller));
	set(&row, HEADER_buyer, JsonbPGetDatum(terms->buyer));
	set(&row, HEADER_metadata, metadata_of(terms, document));
	if (!document->finish && !TIMESTAMP_NOT_FINITE(document->finalize_after))
		set(&row, HEADER_finalize_after, TimestampTzGetDatum(document->finalize_after));
}

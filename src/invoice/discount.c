/*
 * discount.c
 *		Discounts on whole documents, before tax (doc/rules.md 5).
 *
 * Pure.  What corrections bring back of earlier shares comes first and may be
 * taken again by the same document.  Then the percentages, all of the same
 * subtotal, then what is left of fixed amounts, never more than there is.
 * Each is split to the lines by largest remainder, never onto corrections.
 */
#include "postgres.h"

#include "invoice/document.h"
#include "lib/amount.h"

/* Takes down what the document takes (negative: brings back) of a discount; origin 0: by itself. */
static void
add_use(Document *document, int64 discount_id, int64 origin_invoice, int64 amount)
{
	int			count = document->nuses + 1;

	document->uses = document->uses == NULL ? palloc(sizeof(DiscountUse))
		: repalloc(document->uses, sizeof(DiscountUse) * count);
	document->uses[document->nuses++] = (DiscountUse)
	{
		discount_id, origin_invoice, amount
	};
}

/* What the document brings back of one document: to its discounts, in proportion to what they still hold. */
static void
bring_back(Document *document, const DocumentDiscounts *discounts, int64 origin_invoice, int64 amount)
{
	int64	   *weights = palloc(sizeof(int64) * Max(discounts->nuses, 1));
	int64	   *parts = palloc(sizeof(int64) * Max(discounts->nuses, 1));
	int64		sum = 0;

	for (int i = 0; i < discounts->nuses; i++)
	{
		weights[i] = discounts->uses[i].origin_invoice == origin_invoice ? discounts->uses[i].amount : 0;
		sum = amount_add(sum, weights[i]);
	}
	if (sum == 0)
		return;
	amount_split(amount, weights, discounts->nuses, parts);
	for (int i = 0; i < discounts->nuses; i++)
		if (parts[i] != 0)
			add_use(document, discounts->uses[i].discount_id, origin_invoice, -parts[i]);
}

/* The document that a line corrects; 0: none. */
static int64
corrected_by(const DocumentLine *line)
{
	return line->delta->correction ? line->delta->live->origin_invoice : 0;
}

/*
 * Shares that corrections bring back, document by document; the lines know them
 * from the start.  What is corrected are a few documents, however many the lines.
 */
static void
bring_shares_back(Document *document, const DocumentDiscounts *discounts)
{
	for (int i = 0; i < document->nlines; i++)
	{
		int64		origin = corrected_by(&document->lines[i]);
		int64		amount = 0;
		int			first = 0;

		if (origin == 0)
			continue;
		while (corrected_by(&document->lines[first]) != origin)
			first++;
		if (first < i)
			continue;
		for (int k = i; k < document->nlines; k++)
			if (corrected_by(&document->lines[k]) == origin)
				amount = amount_sub(amount, document->lines[k].delta->document_discount);
		if (amount != 0)
			bring_back(document, discounts, origin, amount);
	}
}

/* What a line has left for a discount; 0: the discount does not concern it. */
static int64
left_of_line(const DocumentLine *line, const DocumentDiscount *discount)
{
	if (line->delta->correction || line->money.amount <= 0 ||
		(discount->subscription_id != 0 && discount->subscription_id != line->subscription_id))
		return 0;
	return line->money.amount - line->document_discount;
}

/* Splits what the discount takes to the lines. */
static void
take(Document *document, const DocumentDiscount *discount, int64 amount)
{
	int64	   *weights = palloc(sizeof(int64) * document->nlines);
	int64	   *parts = palloc(sizeof(int64) * document->nlines);

	if (amount <= 0)
		return;
	for (int i = 0; i < document->nlines; i++)
		weights[i] = left_of_line(&document->lines[i], discount);
	amount_split(amount, weights, document->nlines, parts);
	for (int i = 0; i < document->nlines; i++)
		document->lines[i].document_discount += parts[i];
	add_use(document, discount->id, 0, amount);
}

/* The sum of what lines have left for a discount, or where whole, had before any discount. */
static int64
subtotal(const Document *document, const DocumentDiscount *discount, bool whole)
{
	int64		sum = 0;

	for (int i = 0; i < document->nlines; i++)
	{
		int64		left = left_of_line(&document->lines[i], discount);

		if (whole && left > 0)
			left = document->lines[i].money.amount;
		sum = amount_add(sum, left);
	}
	return sum;
}

static bool
applies(const Document *document, const DocumentDiscount *discount)
{
	return document->due >= discount->from && document->due < discount->to;
}

/* What is left of a fixed discount, with what the document brings back. */
static int64
left_of_discount(const Document *document, const DocumentDiscount *discount)
{
	int64		left = discount->left;

	for (int i = 0; i < document->nuses; i++)
		if (document->uses[i].discount_id == discount->id && document->uses[i].origin_invoice != 0)
			left = amount_sub(left, document->uses[i].amount);
	return left;
}

/*
 * Sets the lines' shares of the discounts on the document, and what the
 * document uses of each.  Credit notes only bring back; their lines are
 * turned round already.
 */
void
discount_document(Document *document, const DocumentDiscounts *discounts)
{
	for (int i = 0; i < document->nlines; i++)
		document->lines[i].document_discount = document->credit_note
			? -document->lines[i].delta->document_discount : document->lines[i].delta->document_discount;
	if (discounts->nuses > 0)
		bring_shares_back(document, discounts);
	for (int i = 0; i < discounts->count && !document->credit_note; i++)
	{
		const DocumentDiscount *discount = &discounts->discounts[i];

		if (discount->percent != NULL && applies(document, discount))
			take(document, discount, Min(amount_percent(subtotal(document, discount, true), discount->percent),
										 subtotal(document, discount, false)));
	}
	for (int i = 0; i < discounts->count && !document->credit_note; i++)
	{
		const DocumentDiscount *discount = &discounts->discounts[i];

		if (discount->percent == NULL && applies(document, discount))
			take(document, discount, Min(left_of_discount(document, discount), subtotal(document, discount, false)));
	}
}

/* A document that stays: what it used is no longer there for the next, and what it brought back is. */
void
discount_accept(const Document *document, DocumentDiscounts *discounts)
{
	for (int i = 0; i < document->nuses; i++)
	{
		const DiscountUse *use = &document->uses[i];

		for (int k = 0; k < discounts->count; k++)
			if (discounts->discounts[k].id == use->discount_id)
				discounts->discounts[k].left = amount_sub(discounts->discounts[k].left, use->amount);
		for (int k = 0; k < discounts->nuses && use->origin_invoice != 0; k++)
			if (discounts->uses[k].discount_id == use->discount_id &&
				discounts->uses[k].origin_invoice == use->origin_invoice)
				discounts->uses[k].amount = amount_add(discounts->uses[k].amount, use->amount);
	}
}

/*
 * totals.c
 *		Tax and totals of documents, in minor units (doc/rules.md 6).
 *
 * Pure.  Tax is computed once per (category, rate) on the sum.  Of inclusive
 * prices the net is derived from the group's gross; what net and tax miss is
 * the rounding amount.
 */
#include "postgres.h"

#include "invoice/document.h"
#include "lib/amount.h"
#include "lib/num.h"

/* Money of one tax group: what is asked for, and how it divides. */
typedef struct GroupTotal
{
	int64		net;
	int64		tax;
	int64		rounding;
	int64		net_of_inclusive;
} GroupTotal;

/* Divides a group of exclusive and inclusive amounts. */
static GroupTotal
divide(int64 exclusive, int64 inclusive, Numeric rate)
{
	GroupTotal	total;

	total.net_of_inclusive = inclusive == 0 ? 0 : amount_without_tax(inclusive, rate);
	total.net = amount_add(exclusive, total.net_of_inclusive);
	total.tax = amount_percent(total.net, rate);
	total.rounding = 0;
	if (inclusive != 0)
		total.rounding = exclusive + inclusive + amount_percent(exclusive, rate) - total.net - total.tax;
	return total;
}

/* What of a line is taxed: its amount less its share of the document's discounts. */
int64
line_base(const DocumentLine *line)
{
	return amount_sub(line->money.amount, line->document_discount);
}

static bool
same_group(const DocumentLine *line, const char *category, Numeric rate)
{
	return strcmp(line->category, category) == 0 && num_cmp(line->rate, rate) == 0;
}

/* The document's total of the line's group, made at its first line. */
static TaxTotal *
group_of(Document *document, const DocumentLine *line)
{
	TaxTotal   *total;

	for (int i = 0; i < document->ntaxes; i++)
		if (same_group(line, document->taxes[i].category, document->taxes[i].rate))
			return &document->taxes[i];
	total = &document->taxes[document->ntaxes++];
	memset(total, 0, sizeof(TaxTotal));
	total->category = line->category;
	total->rate = line->rate;
	total->reason = line->reason;
	return total;
}

static int
compare_tax(const void *x, const void *y)
{
	const TaxTotal *a = x;
	const TaxTotal *b = y;
	int			order = strcmp(a->category, b->category);

	return order != 0 ? order : num_cmp(a->rate, b->rate);
}

/* Makes the groups, by category and rate. */
static void
make_groups(Document *document)
{
	document->taxes = palloc(sizeof(TaxTotal) * Max(document->nlines, 1));
	document->ntaxes = 0;
	for (int i = 0; i < document->nlines; i++)
		(void) group_of(document, &document->lines[i]);
	qsort(document->taxes, document->ntaxes, sizeof(TaxTotal), compare_tax);
}

/* Gives each inclusive line of a group its share of the group's net, by largest remainder. */
static void
spread_net(Document *document, const TaxTotal *group, int64 net)
{
	int64	   *weights = palloc(sizeof(int64) * document->nlines);
	int64	   *parts = palloc(sizeof(int64) * document->nlines);
	int			count = 0;

	for (int i = 0; i < document->nlines; i++)
		if (document->lines[i].price->tax_inclusive && same_group(&document->lines[i], group->category, group->rate))
			weights[count++] = line_base(&document->lines[i]);
	if (count == 0)
		return;
	amount_split(net, weights, count, parts);
	count = 0;
	for (int i = 0; i < document->nlines; i++)
		if (document->lines[i].price->tax_inclusive && same_group(&document->lines[i], group->category, group->rate))
			document->lines[i].net = parts[count++];
}

/* Sums of one group's lines; exclusive lines keep their amount as net. */
static void
sum_group(Document *document, const TaxTotal *group, int64 *exclusive, int64 *inclusive)
{
	*exclusive = *inclusive = 0;
	for (int i = 0; i < document->nlines; i++)
	{
		DocumentLine *line = &document->lines[i];

		if (!same_group(line, group->category, group->rate))
			continue;
		if (line->price->tax_inclusive)
			*inclusive = amount_add(*inclusive, line_base(line));
		else
		{
			*exclusive = amount_add(*exclusive, line_base(line));
			line->net = line_base(line);
		}
	}
}

static void
add_total(Document *document, TaxTotal *group, const GroupTotal *total)
{
	group->net = amount_add(group->net, total->net);
	group->tax = amount_add(group->tax, total->tax);
	document->net = amount_add(document->net, total->net);
	document->tax = amount_add(document->tax, total->tax);
	document->rounding = amount_add(document->rounding, total->rounding);
}

/* Sets taxes, totals and the lines' net amounts of an invoice. */
void
document_totals(Document *document)
{
	make_groups(document);
	for (int i = 0; i < document->ntaxes; i++)
	{
		int64		exclusive,
					inclusive;
		GroupTotal	total;

		sum_group(document, &document->taxes[i], &exclusive, &inclusive);
		total = divide(exclusive, inclusive, document->taxes[i].rate);
		add_total(document, &document->taxes[i], &total);
		spread_net(document, &document->taxes[i], total.net_of_inclusive);
	}
}

/* What earlier credit notes gave back of a document's category and rate. */
static int64
credited_before(const CorrectionHistory *history, int64 invoice_id, const TaxTotal *group, bool inclusive)
{
	int64		sum = 0;

	for (int i = 0; i < history->ncredited; i++)
	{
		const CreditedBefore *before = &history->credited[i];

		if (before->invoice_id == invoice_id && before->inclusive == inclusive &&
			strcmp(before->category, group->category) == 0 && num_cmp(before->rate, group->rate) == 0)
			sum += before->amount;
	}
	return sum;
}

/*
 * What this note gives back of one group of one document: the total of all
 * that is given back so far less the total before, so the last note takes the
 * rest and never more than the invoice's tax.
 */
static GroupTotal
given_back(const Document *document, const TaxTotal *group, int64 invoice_id, const CorrectionHistory *history)
{
	int64		before[2] = {credited_before(history, invoice_id, group, false),
	credited_before(history, invoice_id, group, true)};
	int64		after[2] = {before[0], before[1]};
	GroupTotal	total;
	GroupTotal	earlier = divide(before[0], before[1], group->rate);

	for (int i = 0; i < document->nlines; i++)
	{
		const DocumentLine *line = &document->lines[i];

		if (line->delta->live->origin_invoice == invoice_id && same_group(line, group->category, group->rate))
			after[line->price->tax_inclusive] = amount_add(after[line->price->tax_inclusive], line_base(line));
	}
	total = divide(after[0], after[1], group->rate);
	total.net -= earlier.net;
	total.tax -= earlier.tax;
	total.rounding -= earlier.rounding;
	total.net_of_inclusive -= earlier.net_of_inclusive;
	return total;
}

/* Remembers what a note gives back, for the notes after it in the same pass. */
static void
note_credited(const Document *document, CorrectionHistory *history)
{
	int			total = history->ncredited + document->nlines;

	history->credited = history->credited == NULL ? palloc(sizeof(CreditedBefore) * total)
		: repalloc(history->credited, sizeof(CreditedBefore) * total);
	for (int i = 0; i < document->nlines; i++)
	{
		const DocumentLine *line = &document->lines[i];

		history->credited[history->ncredited++] = (CreditedBefore)
		{
			.invoice_id = line->delta->live->origin_invoice, .category = line->delta->live->tax_category,
				.rate = line->rate, .inclusive = line->price->tax_inclusive, .amount = line_base(line)
		};
	}
}

/* Sets taxes and totals of a credit note and what it is allocated to. */
void
credit_note_totals(Document *document, CorrectionHistory *history)
{
	int64	   *net_of_inclusive;

	make_groups(document);
	net_of_inclusive = palloc0(sizeof(int64) * document->ntaxes);
	document->allocations = palloc(sizeof(CreditAllocation) * Max(history->norigins, 1));
	for (int o = 0; o < history->norigins; o++)
	{
		OriginDocument *origin = &history->origins[o];
		int64		sum = 0;

		for (int i = 0; i < document->ntaxes; i++)
		{
			GroupTotal	total = given_back(document, &document->taxes[i], origin->id, history);

			add_total(document, &document->taxes[i], &total);
			net_of_inclusive[i] += total.net_of_inclusive;
			sum += total.net + total.tax + total.rounding;
		}
		sum = Min(sum, origin->amount_due - origin->credited);
		if (sum <= 0)
			continue;
		origin->credited += sum;
		document->allocations[document->nallocations++] = (CreditAllocation)
		{
			origin->id, sum
		};
	}
	for (int i = 0; i < document->ntaxes; i++)
	{
		int64		exclusive,
					inclusive;

		sum_group(document, &document->taxes[i], &exclusive, &inclusive);
		spread_net(document, &document->taxes[i], net_of_inclusive[i]);
	}
	note_credited(document, history);
}

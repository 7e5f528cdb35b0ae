/*
 * document.c
 *		From differences to documents: what stands together (doc/rules.md 5).
 *
 * Pure.  A document holds what is due at one instant for one tax scope and one
 * group: one order number, or one subscription where the account wants that.
 * Corrections that give back stay on an invoice while it
 * remains positive and what they correct is settled; else all of them become
 * one credit note, but for what is set off against the charges beside it.
 */
#include "postgres.h"

#include "invoice/document.h"
#include "lib/num.h"

/* Exempt lines stand apart by their reason, lines outside the scope of tax too. */
static const char *
tax_scope(const char *category, const char *reason)
{
	if (strcmp(category, "O") == 0)
		return "outside";
	if (strcmp(category, "S") == 0 || strcmp(category, "Z") == 0 ||
		strcmp(category, "L") == 0 || strcmp(category, "M") == 0)
		return "taxed";
	return reason != NULL ? reason : category;
}

/* What is billed together with the line: its subscription's, or all of its order number; or it stands alone. */
static const char *
group_of(const AccountTerms *terms, const DocumentLine *line)
{
	if (line->delta->own_invoice && !line->delta->correction)
		return psprintf("item:" INT64_FORMAT, line->item_id);
	if (terms->by_subscription)
		return psprintf("subscription:" INT64_FORMAT, line->subscription_id);
	return line->purchase_order ? line->purchase_order : "";
}

/* The line of a difference, with the tax of its tax point or of what it corrects. */
static DocumentLine
make_line(const AccountTerms *terms, const TaxTable *taxes, DateADT issued_on, const Delta *delta)
{
	DocumentLine line = {.delta = delta, .money = delta->money};
	const LiveCharge *live = delta->live;

	line.price = delta->price;
	line.subscription_id = delta->subscription_id;
	line.item_id = delta->item_id;
	line.start = delta->start;
	line.end = delta->end;
	line.purchase_order = delta->item ? delta->item->subscription->purchase_order : NULL;
	line.group = group_of(terms, &line);
	if (delta->correction)
	{
		line.category = live->tax_category;
		line.rate = live->tax_rate;
		line.reason = live->tax_reason;
	}
	else
	{
		const TaxRate *rate = tax_rate_at(taxes, terms->entity, line.price->tax, terms->tax_status,
										  local_date(line.start, terms->entity_tz),
										  local_date(line.end - 1, terms->entity_tz), issued_on);

		line.category = rate->category;
		line.rate = rate->rate;
		line.reason = rate->reason;
	}
	line.scope = tax_scope(line.category, line.reason);
	return line;
}

#define COMPARE(a, b) \
	do { if ((a) != (b)) return (a) < (b) ? -1 : 1; } while (0)

static const char *
order_of(const DocumentLine *line)
{
	return line->purchase_order ? line->purchase_order : "";
}

/* By document, <0, 0, >0. */
static int
compare_group(const DocumentLine *a, const DocumentLine *b)
{
	int			order;

	COMPARE(a->delta->due, b->delta->due);
	order = strcmp(a->scope, b->scope);
	if (order == 0)
		order = strcmp(a->group, b->group);
	return order != 0 ? order : strcmp(order_of(a), order_of(b));
}

/* By document, then in the order of lines on it. */
static int
compare_line(const void *x, const void *y)
{
	const DocumentLine *a = x;
	const DocumentLine *b = y;
	int			group = compare_group(a, b);

	if (group != 0)
		return group;
	COMPARE(a->subscription_id, b->subscription_id);
	COMPARE(a->item_id, b->item_id);
	COMPARE(a->start, b->start);
	return 0;
}

static Document *
list_add(DocumentList *list)
{
	if (list->count == list->capacity)
	{
		list->capacity = Max(4, 2 * list->capacity);
		list->documents = list->documents == NULL ? palloc(sizeof(Document) * list->capacity)
			: repalloc(list->documents, sizeof(Document) * list->capacity);
	}
	memset(&list->documents[list->count], 0, sizeof(Document));
	return &list->documents[list->count++];
}

/* The union of the lines' service periods. */
static void
set_period(Document *document)
{
	document->period_start = DT_NOEND;
	document->period_end = DT_NOBEGIN;
	for (int i = 0; i < document->nlines; i++)
	{
		document->period_start = Min(document->period_start, document->lines[i].start);
		document->period_end = Max(document->period_end, document->lines[i].end);
	}
}

/* Does the line give back what its document still holds? */
static bool
gives_back(const DocumentLine *line)
{
	return line->money.amount < 0 && !line->delta->set_off;
}

/* Does it give back at all? */
static bool
is_negative(const DocumentLine *line)
{
	return line->money.amount < 0;
}

static bool
any_line(const DocumentLine *lines, int nlines, bool (*is) (const DocumentLine *))
{
	for (int i = 0; i < nlines; i++)
		if (is(&lines[i]))
			return true;
	return false;
}

/* Are all documents settled that lines which give back correct? */
static bool
corrected_settled(const DocumentLine *lines, int nlines, const CorrectionHistory *history)
{
	for (int i = 0; i < nlines; i++)
	{
		if (!gives_back(&lines[i]))
			continue;
		for (int k = 0; k < history->norigins; k++)
			if (history->origins[k].id == lines[i].delta->live->origin_invoice &&
				!history->origins[k].settled)
				return false;
	}
	return true;
}

static void
add_invoice(DocumentList *list, DocumentLine *lines, int nlines, const CorrectionHistory *history)
{
	Document   *document = list_add(list);

	document->due = lines[0].delta->due;
	document->lines = lines;
	document->nlines = nlines;
	set_period(document);
	discount_document(document, &history->discounts);
	document_totals(document);
}

/* A credit note of lines that give back; their money, negative until here, becomes positive. */
static void
add_credit_note(DocumentList *list, DocumentLine *lines, int nlines, CorrectionHistory *history)
{
	Document   *document = list_add(list);

	document->credit_note = true;
	document->due = lines[0].delta->due;
	document->lines = lines;
	document->nlines = nlines;
	for (int i = 0; i < nlines; i++)
		lines[i].money = money_neg(lines[i].money);
	set_period(document);
	discount_document(document, &history->discounts);
	credit_note_totals(document, history);
	discount_accept(document, &history->discounts);
}

/* Moves lines of one sort behind the rest, both in order; returns how many come first. */
static int
partition_lines(DocumentLine *lines, int nlines, bool (*behind) (const DocumentLine *))
{
	DocumentLine *sorted = palloc(sizeof(DocumentLine) * nlines);
	int			first = 0;
	int			count = 0;

	for (int i = 0; i < nlines; i++)
		if (!behind(&lines[i]))
			sorted[count++] = lines[i];
	first = count;
	for (int i = 0; i < nlines; i++)
		if (behind(&lines[i]))
			sorted[count++] = lines[i];
	memcpy(lines, sorted, sizeof(DocumentLine) * nlines);
	pfree(sorted);
	return first;
}

/* Adds an invoice of the lines unless its total were negative. */
static bool
try_invoice(DocumentList *list, DocumentLine *lines, int nlines, CorrectionHistory *history)
{
	Document   *invoice;

	add_invoice(list, lines, nlines, history);
	invoice = &list->documents[list->count - 1];
	if (invoice->net + invoice->tax + invoice->rounding < 0)
	{
		list->count--;
		return false;
	}
	discount_accept(invoice, &history->discounts);
	return true;
}

/* The document or documents of one group. */
static void
add_group(DocumentList *list, DocumentLine *lines, int nlines, CorrectionHistory *history)
{
	int			charges;

	if ((!any_line(lines, nlines, gives_back) || corrected_settled(lines, nlines, history)) &&
		try_invoice(list, lines, nlines, history))
		return;
	charges = partition_lines(lines, nlines, gives_back);
	if (charges == 0 || charges == nlines || !try_invoice(list, lines, charges, history))
	{
		charges = partition_lines(lines, nlines, is_negative);
		if (charges > 0)
			try_invoice(list, lines, charges, history);
	}
	add_credit_note(list, lines + charges, nlines - charges, history);
}

/*
 * Adds the documents of an account's differences, oldest due instant first;
 * lines refer to the deltas.  issued_on is the date from which tax points of
 * issue are judged.
 */
void
documents_build(const AccountTerms *terms, const TaxTable *taxes, DateADT issued_on,
				CorrectionHistory *history, const DeltaList *deltas, DocumentList *list)
{
	DocumentLine *lines = palloc(sizeof(DocumentLine) * Max(deltas->count, 1));
	int			first = 0;

	for (int i = 0; i < deltas->count; i++)
		lines[i] = make_line(terms, taxes, issued_on, &deltas->deltas[i]);
	qsort(lines, deltas->count, sizeof(DocumentLine), compare_line);
	for (int i = 1; i <= deltas->count; i++)
	{
		if (i < deltas->count && compare_group(&lines[first], &lines[i]) == 0)
			continue;
		add_group(list, lines + first, i - first, history);
		first = i;
	}
}

/*
 * settle.c
 *		Which differences are written now, and as which revisions.
 *
 * doc/rules.md 4, P7.  Pure.  Keys are compared one by one; only here it is seen
 * that a range passes from one key to another.
 */
#include "postgres.h"

#include "charge/difference.h"

/* Does the charge cover something that the correction frees under another key of the same item? */
static bool
covers(const Delta *charge, const Delta *correction)
{
	const LiveCharge *live = correction->live;

	return charge->item_id == correction->item_id && charge->kind == correction->kind &&
		charge->ordinal == correction->ordinal &&
		(charge->version != correction->version || charge->period_no != correction->period_no) &&
		charge->start < live->end && charge->end > live->start;
}

/*
 * A correction that frees a range which a charge of this run covers is written
 * with that charge, whatever its due date.
 */
static void
pull_forward(DeltaList *list, const Window *window)
{
	for (int c = 0; c < list->count; c++)
	{
		const Delta *charge = &list->deltas[c];

		if (charge->correction || charge->due > window->horizon)
			continue;
		for (int i = 0; i < list->count; i++)
			if (list->deltas[i].correction && covers(charge, &list->deltas[i]))
				list->deltas[i].due = Min(list->deltas[i].due, charge->due);
	}
}

/* Leaves out what is not due; the account has to be looked at again. */
static void
drop_later(DeltaList *list, const Window *window)
{
	int			count = 0;

	for (int i = 0; i < list->count; i++)
	{
		if (list->deltas[i].due <= window->horizon)
			list->deltas[count++] = list->deltas[i];
		else
			list->postponed = true;
	}
	list->count = count;
}

/* The revision that follows those of the live rows, in whatever key, whose range begins with the row's. */
static int
revision_after_live(const Delta *delta, const ChargeRow *row, const LiveCharge *live, int nlive)
{
	int			revision = 0;

	for (int i = 0; i < nlive; i++)
		if (live[i].item_id == delta->item_id && live[i].kind == delta->kind && live[i].ordinal == delta->ordinal &&
			live[i].start == row->start)
			revision = Max(revision, live[i].revision + 1);
	return revision;
}

/* How many rows before row k of delta d begin with the same range, in the order in which they are revisions. */
static int
rows_before(const DeltaList *list, int d, int k)
{
	const Delta *delta = &list->deltas[d];
	int			count = 0;

	for (int i = 0; i < list->count; i++)
	{
		const Delta *other = &list->deltas[i];
		bool		before = other->correction != delta->correction ? other->correction : i < d;

		if (other->item_id != delta->item_id || other->kind != delta->kind || other->ordinal != delta->ordinal)
			continue;
		for (int r = 0; r < other->nrows; r++)
			if (other->rows[r].start == delta->rows[k].start && (before || (i == d && r < k)))
				count++;
	}
	return count;
}

/*
 * Numbers the revisions.  A range that gets other terms, or another key, is
 * first revised to nothing, then charged by a further revision.
 */
static void
number_revisions(DeltaList *list, const LiveCharge *live, int nlive)
{
	for (int d = 0; d < list->count; d++)
		for (int k = 0; k < list->deltas[d].nrows; k++)
		{
			ChargeRow  *row = &list->deltas[d].rows[k];

			row->revision = revision_after_live(&list->deltas[d], row, live, nlive) + rows_before(list, d, k);
		}
}

/*
 * Ends the comparison of an account: differences that belong together come
 * together, what is not due is left out, and what remains gets its revisions.
 * Without live rows every row is the first of its range.
 */
void
deltas_settle(DeltaList *list, const Window *window, const LiveCharge *live, int nlive)
{
	if (nlive > 0)
		pull_forward(list, window);
	drop_later(list, window);
	if (nlive > 0)
		number_revisions(list, live, nlive);
}

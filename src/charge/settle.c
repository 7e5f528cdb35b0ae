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
		has_range(charge->kind) &&
		(charge->version != correction->version || charge->period_no != correction->period_no) &&
		charge->start < live->end && charge->end > live->start;
}

/* What the key of a correction that is written now charges anew waits for it no longer. */
static bool
release(DeltaList *list, const Delta *correction, const Window *window)
{
	bool		any = false;

	for (int i = 0; i < list->count; i++)
	{
		Delta	   *charge = &list->deltas[i];

		if (charge->correction || charge->due <= window->horizon || charge->piece->due > window->horizon ||
			charge->item_id != correction->item_id || charge->kind != correction->kind ||
			charge->version != correction->version || charge->period_no != correction->period_no)
			continue;
		charge->due = charge->piece->due;
		any = true;
	}
	return any;
}

/*
 * A correction that frees a range which a charge of this run covers is written
 * with that charge, whatever its due date.
 */
static void
pull_forward(DeltaList *list, const Window *window)
{
	bool		released = false;

	for (int c = 0; c < list->count; c++)
	{
		const Delta *charge = &list->deltas[c];

		if (charge->correction || charge->due > window->horizon)
			continue;
		for (int i = 0; i < list->count; i++)
		{
			Delta	   *correction = &list->deltas[i];

			if (!correction->correction || correction->due <= charge->due || !covers(charge, correction))
				continue;
			correction->due = charge->due;
			released = release(list, correction, window) || released;
		}
	}
	if (released)
		pull_forward(list, window);
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

/* The last revision of what begins at an instant. */
typedef struct Chain
{
	int			revision;		/* -1: none yet */
	bool		nothing;		/* nothing is left of it */
	int64		granted;
} Chain;

static void
note_revision(Chain *chain, int revision, bool nothing, int64 granted)
{
	if (revision > chain->revision)
		*chain = (Chain)
	{
		.revision = revision, .nothing = nothing, .granted = granted
	};
}

/*
 * The revisions, in whatever key, of the item's charge that begins at an
 * instant; rows of -1 are still to come.
 */
static Chain
chain_at(const DeltaList *list, const LiveCharge *live, int nlive, const Delta *delta,
		 int64 ordinal, TimestampTz start)
{
	Chain		chain = {.revision = -1, .nothing = true};

	for (int i = 0; i < nlive; i++)
		if (live[i].item_id == delta->item_id && live[i].kind == delta->kind &&
			live[i].ordinal == ordinal && live[i].start == start)
			note_revision(&chain, live[i].revision, is_nothing(&live[i]), live[i].granted);
	for (int i = 0; i < list->count; i++)
	{
		const Delta *other = &list->deltas[i];

		if (other->item_id != delta->item_id || other->kind != delta->kind || other->ordinal != ordinal)
			continue;
		for (int k = 0; k < other->nrows; k++)
		{
			const ChargeRow *row = &other->rows[k];

			if (row->start == start)
				note_revision(&chain, row->revision, row->end == start, row->granted);
		}
	}
	return chain;
}

/*
 * Numbers a row.  What begins where something was granted for ever, that stays
 * as it is, begins revisions of its own.
 */
static void
number_row(DeltaList *list, const LiveCharge *live, int nlive, Delta *delta, ChargeRow *row)
{
	Chain		chain = chain_at(list, live, nlive, delta, delta->ordinal, row->start);

	while (!delta->correction && counts_ranges(delta->kind) && !chain.nothing)
		chain = chain_at(list, live, nlive, delta, ++delta->ordinal, row->start);
	row->revision = chain.revision + 1;
	row->granted = chain.granted;
}

/*
 * Numbers the revisions, corrections first: a range that gets other terms, or
 * another key, is first revised to nothing, then charged by a further revision.
 */
static void
number_revisions(DeltaList *list, const LiveCharge *live, int nlive)
{
	for (int d = 0; d < list->count; d++)
		for (int k = 0; k < list->deltas[d].nrows; k++)
			list->deltas[d].rows[k].revision = -1;
	for (int charges = 0; charges <= 1; charges++)
		for (int d = 0; d < list->count; d++)
			for (int k = 0; k < list->deltas[d].nrows && list->deltas[d].correction != charges; k++)
				number_row(list, live, nlive, &list->deltas[d], &list->deltas[d].rows[k]);
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

/*
 * difference.c
 *		Charges that should exist minus charges that do.
 *
 * doc/rules.md 4, P3, P4, P5 and P7.  Pure.  The unit is the key: an item's aligned
 * period.  Each live row keeps the pieces of its range that still have its
 * terms; what they are worth, rated from those terms, less what was charged is
 * one line, so a credit is always a remainder.  Pieces that no live row keeps
 * are charged.  Human credits count once per key: what is written is
 * greatest(desired, granted) - charged.
 */
#include "postgres.h"

#include "charge/charge.h"
#include "lib/num.h"

/* One key while it is compared. */
typedef struct Key
{
	const SubscriptionItem *item;	/* NULL: only live rows know it */
	const Subscription *sub;
	const Window *window;
	Piece	   *pieces;			/* in time order */
	int			npieces;
	bool	   *kept;			/* by a live row, for each piece */
	const LiveCharge *live;		/* in time order, rows of nothing among them */
	int			nlive;
	TimestampTz correction_due;
	bool		charged;		/* something is live */
	TimestampTz *written;		/* starts of the rows made so far */
	int			nwritten;
} Key;

static void
list_add(DeltaList *list, const Delta *delta)
{
	if (list->count == list->capacity)
	{
		list->capacity = Max(8, 2 * list->capacity);
		list->deltas = list->deltas == NULL ? palloc(sizeof(Delta) * list->capacity)
			: repalloc(list->deltas, sizeof(Delta) * list->capacity);
	}
	list->deltas[list->count++] = *delta;
}

/* A piece charged before it is due must be known as charged when it becomes due. */
static void
note_early(const Key *key, const Piece *piece, DeltaList *list)
{
	if (piece->due > key->window->horizon || piece->accrued)
		list->early_from = Min(list->early_from, piece->start);
}

/* Adds the delta when it is due; else the account has to be looked at again. */
static void
emit(const Key *key, Delta *delta, DeltaList *list)
{
	if (delta->due <= key->window->horizon)
		list_add(list, delta);
	else
		list->postponed = true;
}

static bool
is_nothing(const LiveCharge *live)
{
	return live->end == live->start;
}

/* Was usage in progress charged, and goes on?  The rest of it is due as all of it would be. */
static bool
goes_on(const LiveCharge *live, const Piece *piece)
{
	return piece->price->aggregation != AGGREGATE_NONE && piece->end > live->end;
}

/* Does the piece continue what the live row charged? */
static bool
keeps(const LiveCharge *live, const Piece *piece)
{
	if (piece->start >= live->end || piece->end <= live->start || live->price != piece->price)
		return false;
	return piece->price->aggregation != AGGREGATE_NONE || same_numeric(live->quantity, piece->quantity);
}

/* The live row, of nothing or not, whose range begins at an instant; NULL: none. */
static const LiveCharge *
row_at(const Key *key, TimestampTz start)
{
	for (int i = 0; i < key->nlive; i++)
		if (key->live[i].start == start)
			return &key->live[i];
	return NULL;
}

/*
 * The next revision of the range that begins at an instant.  A range that gets
 * other terms is first revised to nothing, then charged by a further revision.
 */
static int
next_revision(Key *key, TimestampTz start)
{
	const LiveCharge *before = row_at(key, start);
	int			revision = before ? before->revision + 1 : 0;

	for (int i = 0; i < key->nwritten; i++)
		if (key->written[i] == start)
			revision++;
	key->written[key->nwritten++] = start;
	return revision;
}

/* What is live of a piece's range from now on. */
static ChargeRow
row_of(Key *key, const Piece *piece)
{
	const LiveCharge *before = row_at(key, piece->start);

	return (ChargeRow)
	{
		.start = piece->start, .end = piece->end, .revision = next_revision(key, piece->start),
			.money = piece->money, .granted = before ? before->granted : 0,
			.quantity = piece->quantity, .price = piece->price
	};
}

/* The live row given up, or kept only elsewhere. */
static ChargeRow
row_of_nothing(Key *key, const LiveCharge *live)
{
	return (ChargeRow)
	{
		.start = live->start, .end = live->start, .revision = next_revision(key, live->start),
			.granted = live->granted, .price = live->price
	};
}

static Delta
delta_of_key(const Key *key, const Piece *piece, const LiveCharge *live)
{
	Delta		delta = {.item = key->item, .piece = piece, .live = live};

	delta.item_id = piece ? piece->item->id : live->item_id;
	delta.subscription_id = piece ? piece->item->subscription->id : live->subscription_id;
	delta.version = piece ? piece->item->subscription->version : live->version;
	delta.period_no = piece ? piece->period_no : live->period_no;
	delta.price = piece ? piece->price : live->price;
	return delta;
}

/*
 * The range that a live row loses or regains, where it is one: behind or
 * before the part it keeps, or the hole between two parts; else its own.
 */
static void
set_range(Delta *delta, const LiveCharge *live, Piece *const *parts, int nparts)
{
	delta->start = live->start;
	delta->end = live->end;
	if (nparts == 2 && parts[0]->start == live->start && parts[1]->end == live->end)
	{
		delta->start = parts[0]->end;
		delta->end = parts[1]->start;
	}
	else if (nparts == 1 && parts[0]->start == live->start && parts[0]->end != live->end)
	{
		delta->start = Min(parts[0]->end, live->end);
		delta->end = Max(parts[0]->end, live->end);
	}
	else if (nparts == 1 && parts[0]->end == live->end && parts[0]->start != live->start)
	{
		delta->start = Min(parts[0]->start, live->start);
		delta->end = Max(parts[0]->start, live->start);
	}
}

/* Quantity of a correction: of usage the difference, else all of it, given back or regained. */
static Numeric
correction_quantity(const Delta *delta)
{
	Numeric		zero = num_from_int(0);

	if (delta->live->quantity == NULL)
		return NULL;
	if (delta->price->aggregation != AGGREGATE_NONE)
		return num_sub(delta->piece ? delta->piece->quantity : zero, delta->live->quantity);
	return delta->money.amount < 0 ? num_neg(delta->live->quantity) : delta->live->quantity;
}

/* Usage in progress that goes on without costing more needs no line before it is due. */
static bool
is_unchanged(const LiveCharge *live, Piece *const *parts, int nparts)
{
	return nparts == 1 && parts[0]->start == live->start && parts[0]->money.amount == live->money.amount &&
		(parts[0]->end == live->end || (parts[0]->accrued && goes_on(live, parts[0])));
}

/*
 * When a piece is charged: when it is due, or at once where that is wanted of
 * what has begun inside its period in advance, or ended inside it in arrears.
 */
static TimestampTz
charge_due(const Key *key, const Piece *piece)
{
	const Window *window = key->window;
	bool		prorated = (piece->item->price->advance
							? piece->since > piece->period_start && piece->since <= window->horizon
							: piece->end < piece->period_end && piece->end <= window->horizon);

	return window->early && prorated ? Min(piece->due, window->horizon) : piece->due;
}

/* Do live rows keep nothing of the piece, so that it is charged anew? */
static bool
is_new(const Key *key, const Piece *piece)
{
	for (int i = 0; i < key->nlive; i++)
		if (!is_nothing(&key->live[i]) && keeps(&key->live[i], piece))
			return false;
	return true;
}

/*
 * The first due instant of what is charged anew in a range; DT_NOBEGIN where
 * nothing is.  What makes room for a later charge is not given back before it.
 */
static TimestampTz
replaced_at(const Key *key, TimestampTz start, TimestampTz end)
{
	TimestampTz due = DT_NOEND;

	for (int i = 0; i < key->npieces; i++)
		if (key->pieces[i].start < end && key->pieces[i].end > start && is_new(key, &key->pieces[i]))
			due = Min(due, charge_due(key, &key->pieces[i]));
	return due == DT_NOEND ? DT_NOBEGIN : due;
}

/*
 * Compares a live row with the pieces that keep its terms.  extra is added to
 * what remains, so that human credits are not given twice.
 */
static void
revise(Key *key, const LiveCharge *live, int64 extra, DeltaList *list)
{
	Piece	  **parts = palloc(sizeof(Piece *) * Max(key->npieces, 1));
	int			nparts = 0;
	bool		starts = false;
	Money		remains = money_of(extra);
	Delta		delta;

	for (int i = 0; i < key->npieces; i++)
	{
		if (key->kept[i] || !keeps(live, &key->pieces[i]))
			continue;
		key->kept[i] = true;
		note_early(key, &key->pieces[i], list);
		parts[nparts++] = &key->pieces[i];
		starts = starts || key->pieces[i].start == live->start;
		remains = money_add(remains, key->pieces[i].money);
	}
	if (extra == 0 && is_unchanged(live, parts, nparts))
		return;
	delta = delta_of_key(key, nparts > 0 ? parts[0] : NULL, live);
	delta.money = money_sub(remains, live->money);
	if (extra > 0 && delta.money.amount == 0)
		return;
	delta.correction = true;
	delta.plan = live->plan;
	delta.quantity = correction_quantity(&delta);
	set_range(&delta, live, parts, nparts);
	delta.due = Max(key->correction_due, replaced_at(key, delta.start, delta.end));
	for (int i = 0; i < nparts; i++)
		if (goes_on(live, parts[i]))
			delta.due = Max(delta.due, parts[i]->due);
	delta.rows = palloc(sizeof(ChargeRow) * (nparts + 1));
	for (int i = 0; i < nparts; i++)
		delta.rows[delta.nrows++] = row_of(key, parts[i]);
	if (!starts)
		delta.rows[delta.nrows++] = row_of_nothing(key, live);
	if (extra > 0)
	{
		ChargeRow  *row = starts ? &delta.rows[0] : &delta.rows[delta.nrows - 1];

		row->money = money_add(row->money, money_of(extra));
		row->end = Max(row->end, starts ? row->end : live->end);
	}
	share_correction(&delta);
	emit(key, &delta, list);
}

/*
 * Charges a piece that no live row keeps, when it is due.  One that is due later
 * where a row begins, if only of nothing, must find that row then.
 */
static void
charge_piece(Key *key, const Piece *piece, DeltaList *list)
{
	Delta		delta = delta_of_key(key, piece, row_at(key, piece->start));
	TimestampTz due = charge_due(key, piece);

	if (due > key->window->horizon)
	{
		list->postponed = list->postponed || delta.live != NULL;
		return;
	}
	if (piece->accrued && key->window->accrue == ACCRUE_USAGE && piece->money.amount == 0)
		return;
	note_early(key, piece, list);
	delta.plan = subscription_plan_at(key->sub, piece->start);
	delta.money = piece->money;
	delta.quantity = piece->quantity;
	delta.start = piece->start;
	delta.end = piece->end;
	delta.due = key->charged ? Max(due, key->correction_due) : due;
	delta.rows = palloc(sizeof(ChargeRow));
	delta.rows[0] = row_of(key, piece);
	delta.nrows = 1;
	emit(key, &delta, list);
}

/* Credits by people on the key beyond what should be charged at all. */
static int64
granted_beyond(const Key *key)
{
	int64		granted = 0;
	int64		desired = 0;

	for (int i = 0; i < key->nlive; i++)
		granted = amount_add(granted, key->live[i].granted);
	for (int i = 0; i < key->npieces; i++)
		desired = amount_add(desired, key->pieces[i].money.amount);
	return granted > desired ? granted - desired : 0;
}

static void
compare_key(Key *key, DeltaList *list)
{
	int64		extra = granted_beyond(key);

	key->kept = palloc0(sizeof(bool) * Max(key->npieces, 1));
	key->written = palloc(sizeof(TimestampTz) * (2 * key->npieces + key->nlive));
	for (int i = 0; i < key->nlive; i++)
		key->charged = key->charged || !is_nothing(&key->live[i]);
	if (key->charged)
		key->correction_due = key->window->at_once ? key->window->horizon : correction_due(key->sub, key->window);
	for (int i = 0; i < key->nlive; i++)
	{
		if (is_nothing(&key->live[i]))
			continue;
		revise(key, &key->live[i], extra, list);
		extra = 0;
	}
	for (int i = 0; i < key->npieces; i++)
		if (!key->kept[i])
			charge_piece(key, &key->pieces[i], list);
}

/* Copies the live rows of a key, in time order; returns how many. */
static int
collect_live(const LiveCharge *live, int nlive, int64 item_id, int64 period_no, bool *taken, LiveCharge *rows)
{
	int			count = 0;

	for (int i = 0; i < nlive; i++)
	{
		if (taken[i] || live[i].item_id != item_id || live[i].period_no != period_no)
			continue;
		taken[i] = true;
		rows[count++] = live[i];
	}
	return count;
}

static const Subscription *
find_subscription(const Subscription *subs, int nsubs, int64 id)
{
	for (int i = 0; i < nsubs; i++)
		if (subs[i].id == id)
			return &subs[i];
	return NULL;
}

static const SubscriptionItem *
find_item(const Subscription *sub, int64 id)
{
	for (int i = 0; i < sub->nitems; i++)
		if (sub->items[i].id == id)
			return &sub->items[i];
	return NULL;
}

/* Does the timeline still know a period of the item, only too old to be compared? */
static bool
is_untouched(const SubscriptionItem *item, const LiveCharge *live, const Window *window)
{
	PieceList	period = {0};

	if (item == NULL)
		return false;
	if (schedule_start(&item->schedule, live->period_no + 1) <= window->recompute_from)
		return true;
	period_pieces(item, live->period_no, &period);
	for (int i = 0; i < period.count; i++)
		if (piece_latest(&period.pieces[i]) <= window->recompute_from)
			return true;
	return false;
}

/* Live rows of keys that have no piece at all any more. */
static void
give_up_rest(const Subscription *subs, int nsubs, const Window *window, const LiveCharge *live, int nlive,
			 bool *taken, DeltaList *list)
{
	for (int i = 0; i < nlive; i++)
	{
		Key			key = {.window = window, .sub = find_subscription(subs, nsubs, live[i].subscription_id)};
		LiveCharge *rows;

		if (taken[i] || key.sub == NULL || is_nothing(&live[i]))
			continue;
		key.item = find_item(key.sub, live[i].item_id);
		if (is_untouched(key.item, &live[i], window))
			continue;
		rows = palloc(sizeof(LiveCharge) * nlive);
		key.nlive = collect_live(live, nlive, live[i].item_id, live[i].period_no, taken, rows);
		key.live = rows;
		compare_key(&key, list);
	}
}

/*
 * Adds the differences of an account: pieces are those in the window, rated,
 * key by key in time order; live its live rows from the earliest edit on (none
 * where nothing was edited).  Live rows of subscriptions that are not given
 * are left alone.
 */
void
charge_difference(const Subscription *subs, int nsubs, const Window *window,
				  const PieceList *pieces, const LiveCharge *live, int nlive, DeltaList *list)
{
	bool	   *taken = palloc0(sizeof(bool) * Max(nlive, 1));

	list->early_from = DT_NOEND;
	for (int first = 0, next; first < pieces->count; first = next)
	{
		Piece	   *piece = &pieces->pieces[first];
		Key			key = {.item = piece->item, .sub = piece->item->subscription, .window = window, .pieces = piece};

		for (next = first; next < pieces->count && pieces->pieces[next].item == piece->item &&
			 pieces->pieces[next].period_no == piece->period_no;)
			next++;
		key.npieces = next - first;
		if (nlive > 0)
		{
			LiveCharge *rows = palloc(sizeof(LiveCharge) * nlive);

			key.nlive = collect_live(live, nlive, piece->item->id, piece->period_no, taken, rows);
			key.live = rows;
		}
		compare_key(&key, list);
	}
	if (nlive > 0)
		give_up_rest(subs, nsubs, window, live, nlive, taken, list);
}

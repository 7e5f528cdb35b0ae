/*
 * compare.c
 *		One key: the pieces that should be charged, against its live rows.
 *
 * doc/rules.md 4, P4, P5 and P7.  Pure.  Each live row keeps the pieces of its range
 * that still have its terms; what they are worth, rated from those terms, less
 * what was charged is one line, so a credit is always a remainder.  Pieces that
 * no live row keeps are charged.  Human credits count once per key: what is
 * written is greatest(desired, granted) - charged.
 */
#include "postgres.h"

#include "charge/difference.h"
#include "lib/num.h"

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

/* Was usage in progress charged, and goes on?  The rest of it is due as all of it would be. */
static bool
goes_on(const LiveCharge *live, const Piece *piece)
{
	return piece->price->aggregation != AGGREGATE_NONE && piece->end > live->end;
}

/* Minimums have no price of the catalogue; they are told apart by their tax. */
static bool
same_price(const LiveCharge *live, const Piece *piece)
{
	if (piece->kind != KIND_MINIMUM)
		return live->price == piece->price;
	return strcmp(live->price->tax, piece->price->tax) == 0 && live->price->tax_inclusive == piece->price->tax_inclusive;
}

/* Does the piece continue what the live row charged? */
static bool
keeps(const LiveCharge *live, const Piece *piece)
{
	if (!same_price(live, piece))
		return false;
	if (has_range(piece->kind) && (piece->start >= live->end || piece->end <= live->start))
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

/* What is live of a piece's range from now on. */
static ChargeRow
row_of(const Piece *piece)
{
	return (ChargeRow)
	{
		.start = piece->start, .end = piece->end, .money = piece->money, .quantity = piece->quantity,
			.price = piece->price
	};
}

/* The live row given up, or kept only elsewhere. */
static ChargeRow
row_of_nothing(const LiveCharge *live)
{
	return (ChargeRow)
	{
		.start = live->start, .end = live->start, .price = live->price
	};
}

static Delta
delta_of_key(const Key *key, const Piece *piece, const LiveCharge *live)
{
	Delta		delta = {.item = key->item, .piece = piece, .live = live};

	delta.item_id = piece ? piece->item->id : live->item_id;
	delta.kind = piece ? piece->kind : live->kind;
	delta.ordinal = live ? live->ordinal : piece->ordinal;
	delta.subscription_id = piece ? piece->item->subscription->id : live->subscription_id;
	delta.version = piece ? piece_version(piece) : live->version;
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
	if (!has_range(live->kind))
		return;
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
	if (delta->money.gross == 0 && delta->price->aggregation == AGGREGATE_NONE)
		return NULL;
	if (delta->price->aggregation != AGGREGATE_NONE)
		return num_sub(delta->piece ? delta->piece->quantity : zero, delta->live->quantity);
	return delta->money.amount < 0 ? num_neg(delta->live->quantity) : delta->live->quantity;
}

/* Usage in progress that goes on without costing more needs no line before it is due. */
static bool
is_unchanged(const LiveCharge *live, Piece *const *parts, int nparts)
{
	if (nparts != 1 || !money_equal(parts[0]->money, live->money))
		return false;
	if (!has_range(live->kind))
		return true;
	return parts[0]->start == live->start &&
		(parts[0]->end == live->end || (parts[0]->accrued && goes_on(live, parts[0])));
}

/*
 * Does the piece wait for an invoice although it has begun in advance, or ended
 * in arrears, or is charged once?
 */
static bool
may_come_early(const Piece *piece, TimestampTz horizon)
{
	if (!has_range(piece->kind))
		return piece->kind != KIND_INSTALMENT && piece->since <= horizon;
	return piece->item->price->advance
		? piece->since > piece->cut_start && piece->since <= horizon
		: piece->terms_end < piece->cut_end && piece->terms_end <= horizon;
}

/*
 * When a piece is charged: when it is due, or at once where that is wanted of
 * what has begun inside its period in advance, or ended inside it in arrears.
 */
static TimestampTz
charge_due(const Key *key, const Piece *piece)
{
	const Window *window = key->window;

	if (window->early && may_come_early(piece, window->horizon))
		return Min(piece->due, window->horizon);
	return piece->due;
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

/* Compares a live row with the pieces that keep its terms. */
static void
revise(Key *key, const LiveCharge *live, DeltaList *list)
{
	Piece	  **parts = palloc(sizeof(Piece *) * Max(key->npieces, 1));
	int			nparts = 0;
	bool		starts = false;
	Money		remains = money_of(0);
	Delta		delta;

	for (int i = 0; i < key->npieces; i++)
	{
		if (key->kept[i] || !keeps(live, &key->pieces[i]))
			continue;
		key->kept[i] = true;
		note_early(key, &key->pieces[i], list);
		parts[nparts++] = &key->pieces[i];
		starts = starts || !has_range(live->kind) || key->pieces[i].start == live->start;
		remains = money_add(remains, key->pieces[i].money);
	}
	if (is_unchanged(live, parts, nparts))
		return;
	delta = delta_of_key(key, nparts > 0 ? parts[0] : NULL, live);
	delta.money = money_sub(remains, live->money);
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
		delta.rows[delta.nrows++] = row_of(parts[i]);
	if (nparts > 0 && !has_range(live->kind))
	{
		delta.rows[0].start = live->start;
		delta.rows[0].end = live->end;
	}
	if (!starts)
		delta.rows[delta.nrows++] = row_of_nothing(live);
	share_correction(&delta);
	list_add(list, &delta);
}

/* Is there a row of the piece's item, in whatever key, that begins where the piece does? */
static bool
is_known(const Key *key, const Piece *piece)
{
	for (int i = 0; i < key->nknown; i++)
	{
		const LiveCharge *live = &key->known[i];

		if (live->item_id == piece->item->id && live->kind == piece->kind &&
			live->start == piece->start && (counts_ranges(live->kind) || live->ordinal == piece->ordinal))
			return true;
	}
	return false;
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
		list->postponed = list->postponed || is_known(key, piece);
		return;
	}
	if (piece->kind == KIND_MINIMUM && piece->money.amount == 0)
		return;
	if (piece->accrued && key->window->accrue == ACCRUE_USAGE && piece->money.amount == 0)
		return;
	note_early(key, piece, list);
	delta.plan = subscription_plan_at(key->sub, piece->start);
	delta.money = piece->money;
	delta.quantity = piece->quantity;
	delta.start = piece->start;
	delta.end = piece->end;
	delta.due = key->charged ? Max(due, key->correction_due) : due;
	delta.own_invoice = piece->item->own_invoice;
	delta.rows = palloc(sizeof(ChargeRow));
	delta.rows[0] = row_of(piece);
	delta.nrows = 1;
	list_add(list, &delta);
}

/* Credits by people on the key. */
static int64
granted_on(const Key *key)
{
	int64		granted = 0;

	for (int i = 0; i < key->nlive; i++)
		granted = amount_add(granted, key->live[i].granted);
	return granted;
}

/* Did people give back more than should be charged at all? */
static bool
is_granted_beyond(const Key *key)
{
	int64		desired = 0;

	for (int i = 0; i < key->npieces; i++)
		desired = amount_add(desired, key->pieces[i].money.amount);
	return granted_on(key) > desired;
}

/* Takes back of a live row what is beyond the amount that it keeps. */
static void
reduce(Key *key, const LiveCharge *live, int64 kept, DeltaList *list)
{
	Delta		delta = delta_of_key(key, NULL, live);

	delta.money = kept > 0 ? money_of(kept - live->money.amount) : money_sub(money_of(0), live->money);
	delta.correction = true;
	delta.plan = live->plan;
	delta.quantity = correction_quantity(&delta);
	set_range(&delta, live, NULL, 0);
	delta.due = key->correction_due;
	delta.rows = palloc(sizeof(ChargeRow));
	delta.rows[0] = row_of_nothing(live);
	delta.nrows = 1;
	if (kept > 0)
	{
		delta.rows[0].end = live->end;
		delta.rows[0].quantity = live->quantity;
		delta.rows[0].money = money_add(live->money, delta.money);
	}
	share_correction(&delta);
	list_add(list, &delta);
}

/*
 * Where people gave back more than should be charged at all, the live rows stay
 * as they are as far as that goes; what is charged beyond it is taken back.
 */
static void
keep_granted(Key *key, DeltaList *list)
{
	int64		left = granted_on(key);
	int64	   *kept = palloc0(sizeof(int64) * key->nlive);

	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < key->nlive; i++)
		{
			int64		more = pass == 0 ? Min(key->live[i].money.amount, key->live[i].granted)
			: key->live[i].money.amount - kept[i];

			more = Max(0, Min(more, left));
			kept[i] += more;
			left -= more;
		}
	for (int i = 0; i < key->nlive; i++)
		if (kept[i] != key->live[i].money.amount)
			reduce(key, &key->live[i], kept[i], list);
	for (int i = 0; i < key->npieces; i++)
	{
		note_early(key, &key->pieces[i], list);
		list->postponed = list->postponed || key->pieces[i].due > key->window->horizon;
	}
}

/* Is a minimum's period charged under another key, since the tax classes that it completes were others? */
static bool
has_moved(const Key *key)
{
	const Comparison *account = key->account;

	if (key->npieces == 0 || key->pieces[0].kind != KIND_MINIMUM)
		return false;
	for (int i = 0; i < account->nminimums; i++)
		if (account->minimums[i]->subscription_id == key->sub->id &&
			account->minimums[i]->start == key->pieces[0].start)
			return true;
	return false;
}

/* When corrections of the key's subscription are due; asked for key by key, so the answer is kept. */
static TimestampTz
corrections_due(const Key *key)
{
	Comparison *account = key->account;

	if (key->window->at_once)
		return key->window->horizon;
	if (account->corrected != key->sub || account->corrected == NULL)
	{
		account->corrected = key->sub;
		account->correction_due = correction_due(key->sub, key->window);
	}
	return account->correction_due;
}

/*
 * Adds the differences of a key, due or not; their revisions are numbered
 * later.
 */
void
compare_key(Key *key, DeltaList *list)
{
	key->kept = palloc0(sizeof(bool) * Max(key->npieces, 1));
	key->charged = has_moved(key);
	for (int i = 0; i < key->nlive; i++)
		key->charged = key->charged || !is_nothing(&key->live[i]);
	if (key->charged)
		key->correction_due = corrections_due(key);
	if (is_granted_beyond(key))
	{
		keep_granted(key, list);
		return;
	}
	for (int i = 0; i < key->nlive; i++)
		if (!is_nothing(&key->live[i]))
			revise(key, &key->live[i], list);
	for (int i = 0; i < key->npieces; i++)
		if (!key->kept[i])
			charge_piece(key, &key->pieces[i], list);
}

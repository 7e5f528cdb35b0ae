/*
 * timeline.c
 *		Fuzz target: the life of one subscription, billed at different moments.
 *
 * An input's bytes are choices: calendar, two prices, the terms of one item, and
 * runs, each of which knows some of the terms.  Claimed is what doc/rules.md P8
 * says: the charges at the end are those of a single run that knew everything;
 * besides, that ranges charged do not overlap, and that one more run, which looks
 * at everything again, finds no difference.
 */
#include "fuzz.h"

#include "charge/charge.h"
#include "lib/errors.h"
#include "lib/num.h"
#include "utils/fmgrprotos.h"

#define MAX_TERMS 6
#define MAX_RUNS 4

/* 1 January 2026, and the subscription's end at the latest after so many days */
#define FIRST_DAY (INT64CONST(9497) * USECS_PER_DAY)
#define MAX_DAYS 800

typedef struct Choices
{
	const uint8_t *data;
	size_t		left;
} Choices;

typedef struct Life
{
	Subscription sub;
	ScheduleVersion calendar;
	PlanTerms	plan;
	RegularSearch searches[8];
	SubscriptionItem item;
	Price		prices[2];
	Terms		terms[MAX_TERMS];
	int			nterms;
	LiveCharge *live;			/* the last revision of each range */
	int			nlive;
	TimestampTz billed_through;
	TimestampTz recompute_from;
} Life;

/* A number from 0 to count - 1; 0 when the input is used up. */
static int
choose(Choices *choices, int count)
{
	int			choice = 0;

	for (int bytes = count > 256 ? 2 : 1; bytes > 0 && choices->left > 0; bytes--)
	{
		choice = choice * 256 + *choices->data++;
		choices->left--;
	}
	return choice % count;
}

/* An instant after from: whole days, or not. */
static TimestampTz
choose_later(Choices *choices, TimestampTz from, int days)
{
	TimestampTz at = from + choose(choices, days) * USECS_PER_DAY;

	return choose(choices, 2) ? at + choose(choices, 86400) * USECS_PER_SEC : at;
}

static PriceScheme *
scheme_of(const char *unit_amount)
{
	char	   *json = psprintf("{\"model\":\"per_unit\",\"unit_amount\":%s}", unit_amount);

	return scheme_parse(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))));
}

static void
choose_prices(Choices *choices, Life *life)
{
	static const Interval intervals[] = {{.month = 1}, {.month = 3}, {.month = 12}, {.day = 7}, {.day = 14}};
	static const char *const amounts[] = {"12.50", "30", "0.07", "365", "1000.005", "0"};
	Interval	every = intervals[choose(choices, lengthof(intervals))];
	bool		advance = choose(choices, 2);

	for (int i = 0; i < 2; i++)
	{
		Price	   *price = &life->prices[i];

		price->code = i == 0 ? "first" : "second";
		price->version = 1;
		price->name = price->tax = "name";
		price->every = every;
		price->advance = advance;
		price->charge_side = choose(choices, SIDE_FULL + 1);
		price->credit_side = choose(choices, SIDE_FULL + 1);
		price->basis = choose(choices, BASIS_30_360 + 1);
		price->scheme = scheme_of(amounts[choose(choices, lengthof(amounts))]);
	}
}

static void
choose_calendar(Choices *choices, Life *life)
{
	static const char *const zones[] = {"UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"};
	const Interval month = {.month = 1};
	const char *zone = zones[choose(choices, lengthof(zones))];
	Subscription *sub = &life->sub;
	int			billing_day = choose(choices, 4) == 0 ? 1 + choose(choices, 31) : 0;

	sub->id = 1;
	sub->start = choose_later(choices, FIRST_DAY, 366);
	sub->end = choose_later(choices, sub->start + USECS_PER_DAY, MAX_DAYS);
	sub->calendars = &life->calendar;
	sub->ncalendars = 1;
	sub->searches = life->searches;
	sub->nsearches = lengthof(life->searches);
	sub->plans = &life->plan;
	sub->nplans = 1;
	life->plan = (PlanTerms)
	{
		DT_NOBEGIN, "plan"
	};
	sub->items = &life->item;
	sub->nitems = 1;
	life->calendar = (ScheduleVersion)
	{
		.subscription_id = 1, .version = 1, .from = DT_NOBEGIN, .to = DT_NOEND, .first_period = choose(choices, FIRST_JOIN + 1)
	};
	schedule_init(&life->calendar.cycles, billing_day ? schedule_anchor(sub->start, zone, billing_day) : sub->start,
				  &month, zone, billing_day);
}

/* Terms from the start on; between two others they may be those of an interruption. */
static void
choose_terms(Choices *choices, Life *life)
{
	TimestampTz from = life->sub.start;
	int			wanted = 1 + choose(choices, MAX_TERMS);

	while (life->nterms < wanted && from < life->sub.end)
	{
		bool		dead = life->nterms > 0 && life->nterms + 1 < wanted && choose(choices, 6) == 0;

		life->terms[life->nterms++] = (Terms)
		{
			.from = from, .price = dead ? NULL : &life->prices[choose(choices, 2)],
				.quantity = num_from_int(choose(choices, 12))
		};
		from = choose_later(choices, from + USECS_PER_SEC, 90);
	}
	while (life->terms[life->nterms - 1].price == NULL)
		life->nterms--;
}

static void
choose_item(Choices *choices, Life *life)
{
	SubscriptionItem *item = &life->item;

	choose_terms(choices, life);
	*item = (SubscriptionItem)
	{
		.subscription = &life->sub, .id = 1, .kind = KIND_RECURRING, .start = life->sub.start, .end = life->sub.end,
			.from = life->sub.start, .to = life->sub.end, .calendar = &life->calendar, .schedule = life->calendar.cycles,
			.price = &life->prices[0], .terms = life->terms, .charge_from = DATEVAL_NOBEGIN, .charge_until = DATEVAL_NOEND
	};
	item->schedule.months = item->price->every.month;
	item->schedule.days = item->price->every.day;
}

/* What the item is while a run knows count of its terms. */
static void
know_terms(Life *life, int count)
{
	memset(life->searches, 0, sizeof(life->searches));
	life->item.nterms = count;
	life->item.irregular = life->calendar.first_period == FIRST_JOIN;
	for (int i = 0; i < count; i++)
		life->item.irregular = life->item.irregular || life->terms[i].price == NULL;
}

/* Keeps a row if it is the last revision of its range; a run's come in any order. */
static void
keep_row(Life *life, const Delta *delta, const ChargeRow *row)
{
	LiveCharge *live = NULL;

	for (int i = 0; i < life->nlive; i++)
		if (life->live[i].ordinal == delta->ordinal && life->live[i].start == row->start)
			live = &life->live[i];
	fuzz_claim(live == NULL || live->revision != row->revision, "a revision is written once");
	if (live != NULL && live->revision > row->revision)
		return;
	if (live == NULL)
	{
		life->live = life->live == NULL ? palloc(sizeof(LiveCharge))
			: repalloc(life->live, sizeof(LiveCharge) * (life->nlive + 1));
		live = &life->live[life->nlive++];
	}
	*live = (LiveCharge)
	{
		.item_id = delta->item_id, .kind = delta->kind, .ordinal = delta->ordinal,
			.subscription_id = delta->subscription_id, .start = row->start, .end = row->end, .revision = row->revision,
			.version = delta->version, .period_no = delta->period_no, .money = row->money, .granted = row->granted,
			.quantity = row->quantity, .price = row->price
	};
}

static int
compare_live(const void *a, const void *b)
{
	const LiveCharge *x = a;
	const LiveCharge *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

/* A run at an instant; returns how many differences it wrote. */
static int
bill(Life *life, TimestampTz at)
{
	Window		window = {
		.billed_through = life->billed_through, .recompute_from = life->recompute_from,
		.horizon = Max(at, life->billed_through)
	};
	bool		edited = window.recompute_from != DT_NOEND;
	PieceList	pieces = {0};
	DeltaList	deltas = {0};

	subscription_pieces(&life->sub, &window, &pieces);
	for (int i = 0; i < pieces.count; i++)
		piece_rate(&pieces.pieces[i], 2);
	charge_difference(&life->sub, 1, &window, &pieces, life->live, edited ? life->nlive : 0, &deltas);
	for (int i = 0; i < deltas.count; i++)
		for (int k = 0; k < deltas.deltas[i].nrows; k++)
			keep_row(life, &deltas.deltas[i], &deltas.deltas[i].rows[k]);
	if (life->nlive > 0)
		qsort(life->live, life->nlive, sizeof(LiveCharge), compare_live);
	life->billed_through = window.horizon;
	life->recompute_from = Min(deltas.postponed ? window.recompute_from : DT_NOEND, deltas.early_from);
	return deltas.count;
}

/* What is charged at the end, and that no instant is charged twice. */
static int64
charged(const Life *life)
{
	int64		sum = 0;
	TimestampTz end = DT_NOBEGIN;

	for (int i = 0; i < life->nlive; i++)
	{
		sum += life->live[i].money.amount;
		if (life->live[i].end == life->live[i].start)
			continue;
		fuzz_claim(life->live[i].start >= end, "no instant is charged twice");
		end = life->live[i].end;
	}
	return sum;
}

static void
begin(Life *life)
{
	life->live = NULL;
	life->nlive = 0;
	life->billed_through = DT_NOBEGIN;
	life->recompute_from = DT_NOEND;
}

static Numeric
live_through(void *argument)
{
	Life		life = {.nterms = 0};
	TimestampTz last;
	int64		at_once;
	int			runs;

	choose_prices(argument, &life);
	choose_calendar(argument, &life);
	choose_item(argument, &life);
	last = life.sub.end + (MAX_DAYS + 400) * USECS_PER_DAY;

	begin(&life);
	know_terms(&life, life.nterms);
	(void) bill(&life, last);
	at_once = charged(&life);

	begin(&life);
	know_terms(&life, 1);
	runs = choose(argument, MAX_RUNS + 1);
	for (int run = 0; run <= runs; run++)
	{
		int			known = life.item.nterms + choose(argument, 3);

		if (run == runs || known > life.nterms)
			known = life.nterms;
		if (known > life.item.nterms && life.billed_through != DT_NOBEGIN)
			life.recompute_from = Min(life.recompute_from, life.terms[life.item.nterms].from);
		know_terms(&life, known);
		(void) bill(&life, run == runs ? last : choose_later(argument, life.sub.start, MAX_DAYS));
	}
	fuzz_claim(charged(&life) == at_once, "many runs charge what one would");
	life.recompute_from = DT_NOBEGIN;
	fuzz_claim(bill(&life, last) == 0, "one more run finds nothing");
	return NULL;
}

int
fuzz_timeline(const uint8_t *data, size_t size)
{
	Choices		choices = {data, size};
	int			sqlstate;

	(void) fuzz_attempt(live_through, &choices, &sqlstate);
	fuzz_claim(sqlstate == 0 || sqlstate == ERRCODE_BILLING_INVALID_INTERVAL, "a life raises nothing");
	return 0;
}

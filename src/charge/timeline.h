/*
 * timeline.h
 *		What an account has subscribed to, as the pure heart sees it.
 *
 * Plain structs that the loader fills from the books; nothing here touches a
 * table.  Instants are TimestampTz; money is int64 minor units.
 */
#ifndef BILLING_TIMELINE_H
#define BILLING_TIMELINE_H

#include "charge/money.h"
#include "lib/calendar.h"
#include "pricing/pricing.h"

typedef enum Aggregation
{
	AGGREGATE_NONE,				/* not metered */
	AGGREGATE_SUM,
	AGGREGATE_COUNT,
	AGGREGATE_MAX,
	AGGREGATE_LAST,
	AGGREGATE_TRANSACTIONS		/* each event priced by itself: percentage schemes */
} Aggregation;

/* What a rise or a fall inside a period does (doc/rules.md 4, proration). */
typedef enum ProrationSide
{
	SIDE_PRORATE,				/* counts from its instant, by the price's basis */
	SIDE_NONE,					/* ignored until the period ends */
	SIDE_FULL					/* counts from the period's start */
} ProrationSide;

/* What the first period does that starts inside one of the calendar's. */
typedef enum FirstPeriod
{
	FIRST_PRORATE,				/* as the price says */
	FIRST_FREE,
	FIRST_FULL,
	FIRST_JOIN					/* prorated, and charged with the next */
} FirstPeriod;

/* Kinds of items, and of what is charged for them. */
typedef enum ChargeKind
{
	KIND_RECURRING,
	KIND_USAGE,					/* recurring and metered */
	KIND_INSTALMENT,
	KIND_ONE_OFF,
	KIND_SETUP,
	KIND_EVENT,
	KIND_MINIMUM
} ChargeKind;

/*
 * One version of a price with all that a line copies from it.  Two with the
 * same code, version and scheme are the same pointer.
 */
typedef struct Price
{
	char	   *code;
	int			version;
	char	   *name;
	char	   *product;		/* or NULL */
	char	   *tax;			/* tax class */
	char	   *meter;			/* or NULL */
	char	   *unit_code;		/* or NULL */
	Interval	every;
	bool		advance;
	bool		tax_inclusive;
	ProrationSide charge_side;
	ProrationSide credit_side;
	ProrationBasis basis;
	Aggregation aggregation;
	PriceScheme *scheme;
	Jsonb	   *override;		/* the scheme, where it is one customer's instead of the version's;
								 * or NULL */
} Price;

typedef struct Subscription Subscription;

/* Terms of an item from an instant until the next terms. */
typedef struct Terms
{
	TimestampTz from;
	const Price *price;			/* NULL: dead, the subscription is interrupted */
	Numeric		quantity;		/* NULL: from usage */
} Terms;

/* A discount or an increment of the lines of cycles that start in its range. */
typedef struct Discount
{
	int64		id;
	int64		subscription_id;	/* 0: of all */
	int64		item_id;		/* 0: of all */
	bool		increment;		/* adds instead of taking off */
	Numeric		percent;		/* NULL: a fixed amount */
	int64		amount;			/* of a fixed one, minor units */
	TimestampTz from;
	TimestampTz to;				/* DT_NOEND: endless */
} Discount;

/*
 * A version of a subscription's calendar.  It ends where the next one begins,
 * whatever period of its own is under way; the first holds from ever.
 */
typedef struct ScheduleVersion
{
	int64		subscription_id;
	int			version;
	TimestampTz from;			/* DT_NOBEGIN: the first */
	TimestampTz to;				/* DT_NOEND: the last */
	Schedule	cycles;
	FirstPeriod first_period;
	const int64 *skipped;		/* numbers of the cycles for which nothing is charged */
	int			nskipped;
} ScheduleVersion;

/* The plan of a subscription from an instant until the next. */
typedef struct PlanTerms
{
	TimestampTz from;
	char	   *plan;
} PlanTerms;

/* An instalment of an item, and the cycle that takes it. */
typedef struct Instalment
{
	int64		ordinal;
	TimestampTz start;			/* its cycle */
	TimestampTz end;
	TimestampTz due;
	int64		amount;			/* minor units */
} Instalment;

/*
 * A priced part of a subscription under one version of its calendar.  One that
 * recurs stands once for each version that it lives through; others once.
 */
typedef struct SubscriptionItem
{
	const Subscription *subscription;
	int64		id;
	ChargeKind	kind;
	TimestampTz start;
	TimestampTz end;			/* DT_NOEND: endless; already cut by the subscription's */
	TimestampTz from;			/* its life under this version of the calendar */
	TimestampTz to;
	const ScheduleVersion *calendar;
	Schedule	schedule;		/* its periods: the calendar's anchor by the price's interval */
	const Price *price;			/* the first; interval, timing and meter never change */
	Terms	   *terms;			/* by from; the first holds from the start or before */
	int			nterms;
	bool		irregular;		/* may be due later than a period after its service */
	DateADT		charge_from;	/* billing dates of the periods that are charged */
	DateADT		charge_until;
	bool		own_invoice;
	char	   *description;	/* or NULL */
	Instalment *instalments;	/* by ordinal */
	int			ninstalments;
} SubscriptionItem;

/* A least amount of the charges of an item or a subscription in each of its periods. */
typedef struct Minimum
{
	int64		id;
	int64		item_id;		/* 0: of the subscription */
	bool		longer;			/* has periods of its own, not the cycles or the item's */
	int64		amount;			/* of a whole period, minor units */
	bool		prorated;		/* shrinks with the days of service */
	char	   *tax;			/* NULL: as what it completes */
	TimestampTz from;			/* periods that start from then on ... */
	TimestampTz to;				/* ... and before then */
	SubscriptionItem *segments; /* its periods, as if it were an item, once for each version of the
								 * calendar */
	int			nsegments;
} Minimum;

/* A search for a regular charge of a subscription and what it found: many items ask for the same. */
typedef struct RegularSearch
{
	bool		done;
	TimestampTz from;
	TimestampTz until;
	TimestampTz found;
} RegularSearch;

struct Subscription
{
	int64		id;
	TimestampTz start;			/* the first paid instant */
	TimestampTz end;			/* DT_NOEND: endless */
	bool		waits;			/* for its first payment, or did not get it: has no items */
	const ScheduleVersion *calendars;	/* by from */
	int			ncalendars;
	char	   *purchase_order; /* or NULL */
	Jsonb	   *metadata;
	PlanTerms  *plans;			/* by from; the first holds from the start or before */
	int			nplans;
	Discount   *discounts;		/* of its lines, by id */
	int			ndiscounts;
	Minimum    *minimums;		/* those of items first, then the shorter first */
	int			nminimums;
	SubscriptionItem *items;	/* by id, then by calendar; never changed once they are looked at */
	int			nitems;
	RegularSearch *searches;	/* the last ones; private to due.c, zeroed by the loader */
	int			nsearches;
};

/* A live row of table charge: what is charged for a range now. */
typedef struct LiveCharge
{
	int64		item_id;
	ChargeKind	kind;
	int64		ordinal;		/* tells charges without a range apart */
	int64		subscription_id;
	TimestampTz start;
	TimestampTz end;			/* = start: nothing is left */
	int			revision;
	int			version;		/* schedule version and period number of the key */
	int64		period_no;
	Money		money;
	int64		document_discount;	/* its share of its document's discounts */
	int64		granted;		/* of it given back by people */
	Numeric		quantity;
	const Price *price;
	int64		origin_invoice; /* the line that first charged it, and its tax */
	int			origin_line;
	char	   *tax_category;
	Numeric		tax_rate;
	char	   *tax_reason;
	char	   *plan;			/* of the line; or NULL */
} LiveCharge;

extern const char *kind_name(ChargeKind kind);
extern ChargeKind kind_named(const char *name);

#endif							/* BILLING_TIMELINE_H */

/*
 * context.c
 *		What a run keeps from batch to batch: prices, sellers, tax rates.
 *
 * Prices that an item uses are immutable, so a parsed scheme stays right for
 * as long as the run lasts.  All of it lives in one context, apart from SPI's
 * and the transactions'.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "lib/errors.h"
#include "lib/spi.h"
#include "run/context.h"

typedef struct CachedPrice
{
	Price	   *price;
	struct CachedPrice *next;	/* of the same hash */
} CachedPrice;

typedef struct PriceEntry
{
	uint32		hash;			/* of code and version */
	CachedPrice *first;
} PriceEntry;

/* The sellers, with what documents copy of them. */
static void
load_entities(RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT code, time_zone, jsonb_strip_nulls(jsonb_build_object('name', name, 'country', country,"
		" 'address', nullif(address, '{}'), 'tax_ids', nullif(tax_ids, '[]'))) FROM billing.entity"
	};

	run->nentities = (int) query_run(&query, NULL, NULL, run->read_only);
	run->entities = palloc0(sizeof(Entity) * Max(run->nentities, 1));
	for (int i = 0; i < run->nentities; i++)
	{
		run->entities[i].code = query_text(i, 1);
		run->entities[i].tz = time_zone_lookup(query_text(i, 2));
		run->entities[i].snapshot = DatumGetJsonbPCopy(query_value(i, 3));
	}
}

/*
 * A new context below parent, which must outlive the run's transactions; the
 * caller is connected to SPI as the owner of the books.
 */
RunContext *
run_context_create(MemoryContext parent, bool read_only)
{
	MemoryContext context = AllocSetContextCreate(parent, "billing run", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RunContext *run = palloc0(sizeof(RunContext));
	HASHCTL		ctl = {.keysize = sizeof(uint32), .entrysize = sizeof(PriceEntry), .hcxt = context};

	run->context = context;
	run->prices = hash_create("billing prices", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	run->read_only = read_only;
	run->taxes = tax_table_load(read_only);
	load_entities(run);
	MemoryContextSwitchTo(old);
	return run;
}

void
run_context_destroy(RunContext *run)
{
	MemoryContextDelete(run->context);
}

/* The seller; the account's foreign key says that it exists. */
const Entity *
run_entity(const RunContext *run, const char *code)
{
	for (int i = 0; i < run->nentities; i++)
		if (strcmp(run->entities[i].code, code) == 0)
			return &run->entities[i];
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_UNKNOWN_ENTITY), errmsg("entity \"%s\" does not exist", code)));
}

static ProrationSide
side_of(const char *name)
{
	return strcmp(name, "none") == 0 ? SIDE_NONE : strcmp(name, "full") == 0 ? SIDE_FULL : SIDE_PRORATE;
}

static Aggregation
aggregation_of(const char *name, const PriceScheme *scheme)
{
	if (name == NULL)
		return AGGREGATE_NONE;
	if (scheme_is_transactional(scheme))
		return AGGREGATE_TRANSACTIONS;
	return strcmp(name, "sum") == 0 ? AGGREGATE_SUM : strcmp(name, "count") == 0 ? AGGREGATE_COUNT
		: strcmp(name, "max") == 0 ? AGGREGATE_MAX : AGGREGATE_LAST;
}

/* One price version from the books, in the current context; scheme replaces the version's unless NULL. */
static Price *
load_price(const char *code, int version, const Jsonb *scheme, bool read_only)
{
	static SpiQuery query = {
		.text = "SELECT p.name, p.product, p.tax, p.meter, p.unit_code, p.every, p.timing = 'advance', p.tax_inclusive,"
		" p.proration_charge, p.proration_credit, m.aggregation, v.scheme"
		" FROM billing.price p JOIN billing.price_version v ON v.price = p.code"
		" LEFT JOIN billing.meter m ON m.code = p.meter WHERE p.code = $1 AND v.version = $2",
		.nargs = 2, .argtypes = {TEXTOID, INT4OID}
	};
	Datum		values[2] = {CStringGetTextDatum(code), Int32GetDatum(version)};
	Price	   *price = palloc0(sizeof(Price));
	char	   *charge;
	char	   *credit;
	Datum		every;
	bool		once;			/* charged once, not every period */

	if (query_run(&query, values, NULL, read_only) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_PRICE),
				 errmsg("price \"%s\" has no version %d", code, version)));
	price->code = pstrdup(code);
	price->version = version;
	price->name = query_text(0, 1);
	price->product = query_text(0, 2);
	price->tax = query_text(0, 3);
	price->meter = query_text(0, 4);
	price->unit_code = query_text(0, 5);
	every = query_datum(0, 6, &once);
	if (!once)
		price->every = *DatumGetIntervalP(every);
	price->advance = DatumGetBool(query_value(0, 7));
	price->tax_inclusive = DatumGetBool(query_value(0, 8));
	charge = query_text(0, 9);
	credit = query_text(0, 10);
	price->charge_side = side_of(charge);
	price->credit_side = side_of(credit);
	price->basis = price->charge_side == SIDE_PRORATE ? proration_basis(charge)
		: price->credit_side == SIDE_PRORATE ? proration_basis(credit) : BASIS_DAY;
	price->override = scheme == NULL ? NULL : memcpy(palloc(VARSIZE(scheme)), scheme, VARSIZE(scheme));
	price->scheme = scheme_parse(price->override ? price->override : DatumGetJsonbP(query_value(0, 12)));
	price->aggregation = aggregation_of(query_text(0, 11), price->scheme);
	SPI_freetuptable(SPI_tuptable);
	return price;
}

static bool
same_scheme(Jsonb *a, Jsonb *b)
{
	return a == NULL || b == NULL ? a == b : compareJsonbContainers(&a->root, &b->root) == 0;
}

/*
 * A price version, read and parsed once per run; of one customer's own scheme
 * (not NULL) another one.  The rows of the last statement stay as they are.
 */
const Price *
run_price(RunContext *run, const char *code, int version, Jsonb *scheme)
{
	uint32		hash = hash_combine(string_hash(code, strlen(code) + 1), (uint32) version);
	bool		found;
	PriceEntry *entry = hash_search(run->prices, &hash, HASH_ENTER, &found);
	SPITupleTable *rows = SPI_tuptable;
	CachedPrice *cached;
	MemoryContext old;

	if (!found)
		entry->first = NULL;
	for (cached = entry->first; cached != NULL; cached = cached->next)
		if (cached->price->version == version && strcmp(cached->price->code, code) == 0 &&
			same_scheme(cached->price->override, scheme))
			return cached->price;
	old = MemoryContextSwitchTo(run->context);
	cached = palloc(sizeof(CachedPrice));
	cached->price = load_price(code, version, scheme, run->read_only);
	cached->next = entry->first;
	entry->first = cached;
	MemoryContextSwitchTo(old);
	SPI_tuptable = rows;
	return cached->price;
}

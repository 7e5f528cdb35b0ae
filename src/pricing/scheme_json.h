/*
 * scheme_json.h
 *		What a scheme's JSON objects may hold, and reading them into numbers.
 */
#ifndef BILLING_PRICING_SCHEME_JSON_H
#define BILLING_PRICING_SCHEME_JSON_H

#include "lib/errors.h"
#include "pricing/scheme.h"

typedef enum SchemeKey
{
	KEY_UP_TO,
	KEY_UNIT_AMOUNT,
	KEY_FLAT_AMOUNT,
	KEY_PACKAGE_SIZE,
	KEY_RATE,
	KEY_FIXED_AMOUNT,
	KEY_FREE_COUNT,
	KEY_FREE_AMOUNT,
	KEY_TRANSACTION_MINIMUM,
	KEY_TRANSACTION_MAXIMUM,
	KEY_OVERAGE_UNIT_AMOUNT,
	KEY_FREE_QUANTITY,
	KEY_MINIMUM_AMOUNT,
	KEY_MAXIMUM_AMOUNT,
	KEY_COUNT
} SchemeKey;

#define BIT(n) (1 << (n))

/* The keys that a model takes. */
typedef struct ModelRule
{
	const char *name;
	int			required;		/* keys of the scheme */
	int			optional;
	int			tier_keys;		/* zero: a model without tiers */
	int			tier_amounts;	/* of these a tier needs at least one */
} ModelRule;

extern const ModelRule models[];

/* What one JSON object (the scheme, or a tier) says. */
typedef struct SchemeObject
{
	PriceModel	model;
	int			tier;			/* from 1; 0: the scheme itself */
	Numeric		numbers[KEY_COUNT]; /* NULL: not given */
	bool		open;			/* a tier's up_to is null */
} SchemeObject;

#define invalid_scheme(...) \
	ereport(ERROR, \
			(errcode(ERRCODE_BILLING_INVALID_SCHEME), \
			 errmsg("invalid price scheme"), \
			 errdetail(__VA_ARGS__)))

/* Keys of every model */
#define ANY_MODEL (BIT(KEY_FREE_QUANTITY) | BIT(KEY_MINIMUM_AMOUNT) | BIT(KEY_MAXIMUM_AMOUNT))

extern char *key_place(const SchemeObject *object, SchemeKey key);
extern char *key_names(int set);
extern void read_object(SchemeObject *object, JsonbContainer *json, int required, int optional);
extern PriceModel read_model(JsonbContainer *json);

#endif							/* BILLING_PRICING_SCHEME_JSON_H */

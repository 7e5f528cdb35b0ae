/*
 * scheme.c
 *		Parses and checks a price scheme: from its JSON objects to tiers.
 *
 * The result holds everything that does not depend on the quantity, the charge
 * of all whole tiers below included, so that a charge costs one search and a few
 * operations however many tiers there are.
 */
#include "postgres.h"

#include "lib/num.h"
#include "pricing/scheme_json.h"

/* The array under "tiers", which has at least one element. */
static JsonbContainer *
find_tiers(JsonbContainer *json)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(json, "tiers", strlen("tiers"), &value) == NULL)
		invalid_scheme("Key \"tiers\" is missing.");
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		invalid_scheme("Key \"tiers\" must be an array.");
	if (JsonContainerSize(value.val.binary.data) == 0)
		invalid_scheme("Key \"tiers\" is an empty array, but needs at least one tier.");
	return value.val.binary.data;
}

/* What a tier must satisfy beyond its keys one by one. */
static void
check_tier(const SchemeObject *object, const PriceTier *below)
{
	Numeric const *numbers = object->numbers;
	int			amounts = models[object->model].tier_amounts;
	bool		found = false;

	for (int key = 0; key < KEY_COUNT; key++)
		found |= (amounts & BIT(key)) && numbers[key] != NULL;
	if (!found)
		invalid_scheme("Tier %d has no amount; it needs at least one of %s.",
					   object->tier, key_names(amounts));
	if (numbers[KEY_PACKAGE_SIZE] != NULL && numbers[KEY_UNIT_AMOUNT] == NULL)
		invalid_scheme("Tier %d has a \"package_size\" without a \"unit_amount\".", object->tier);
	if (below == NULL)
		return;
	if (below->up_to == NULL)
		invalid_scheme("Key \"up_to\" of tier %d is null, but only the last tier may be open.",
					   object->tier - 1);
	if (numbers[KEY_UP_TO] != NULL && num_cmp(numbers[KEY_UP_TO], below->up_to) <= 0)
		invalid_scheme("%s is %s, but must be greater than that of the tier before, %s.",
					   key_place(object, KEY_UP_TO), num_out(numbers[KEY_UP_TO]),
					   num_out(below->up_to));
}

/* The amounts of a tier; a rate in percent becomes an amount per unit. */
static void
fill_tier(PriceTier *tier, const SchemeObject *object)
{
	Numeric const *numbers = object->numbers;

	tier->up_to = numbers[KEY_UP_TO];
	tier->unit_amount = numbers[KEY_UNIT_AMOUNT];
	if (numbers[KEY_RATE] != NULL)
		tier->unit_amount = num_mul(numbers[KEY_RATE], num_in("0.01"));
	tier->package_size = numbers[KEY_PACKAGE_SIZE];
	tier->flat_amount = numbers[KEY_FLAT_AMOUNT];
	if (numbers[KEY_FIXED_AMOUNT] != NULL)
		tier->flat_amount = numbers[KEY_FIXED_AMOUNT];
}

/* Where a tier begins; one that continues carries the whole tier below in "before". */
static void
place_tier(PriceTier *tier, const PriceTier *below, bool continues)
{
	Numeric		zero = num_from_int(0);

	tier->lower = below ? below->up_to : zero;
	tier->continues = continues && below != NULL;
	tier->start = tier->continues ? below->up_to : zero;
	tier->before = tier->continues ? tier_charge(below, below->up_to) : zero;
}

/* One element of "tiers". */
static void
read_tier(PriceScheme *scheme, int i, const JsonbValue *value)
{
	PriceTier  *below = i > 0 ? &scheme->tiers[i - 1] : NULL;
	SchemeObject object = {.model = scheme->model, .tier = i + 1};
	bool		graduated = (scheme->model == MODEL_GRADUATED ||
							 scheme->model == MODEL_GRADUATED_PERCENTAGE);

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		invalid_scheme("Tier %d must be an object.", i + 1);
	read_object(&object, value->val.binary.data, BIT(KEY_UP_TO), models[scheme->model].tier_keys);
	check_tier(&object, below);
	fill_tier(&scheme->tiers[i], &object);
	place_tier(&scheme->tiers[i], below, graduated);
}

/* The tiers of a tiered model, and one more for what lies above a closed last one. */
static void
read_tiers(PriceScheme *scheme, JsonbContainer *json, Numeric overage)
{
	JsonbContainer *tiers = find_tiers(json);
	int			count = JsonContainerSize(tiers);
	PriceTier  *last;

	scheme->tiers = palloc0(sizeof(PriceTier) * (count + 1));
	scheme->tier_count = count;
	for (int i = 0; i < count; i++)
		read_tier(scheme, i, getIthJsonbValueFromContainer(tiers, i));
	if (overage == NULL)
		return;
	last = &scheme->tiers[count - 1];
	if (last->up_to == NULL)
		invalid_scheme("Key \"overage_unit_amount\" is given, but the last tier is open.");
	last[1].unit_amount = overage;
	place_tier(&last[1], last, true);
	scheme->tier_count++;
}

static void
check_limits(const char *minimum_name, Numeric minimum, const char *maximum_name, Numeric maximum)
{
	if (minimum != NULL && maximum != NULL && num_cmp(minimum, maximum) > 0)
		invalid_scheme("Key \"%s\" is %s, but must not be greater than \"%s\", which is %s.",
					   minimum_name, num_out(minimum), maximum_name, num_out(maximum));
}

/* What holds for the whole scheme, whatever its tiers. */
static void
fill_scheme(PriceScheme *scheme, const SchemeObject *object)
{
	Numeric const *numbers = object->numbers;

	scheme->free_quantity = numbers[KEY_FREE_QUANTITY];
	scheme->minimum_amount = numbers[KEY_MINIMUM_AMOUNT];
	scheme->maximum_amount = numbers[KEY_MAXIMUM_AMOUNT];
	scheme->transaction_minimum = numbers[KEY_TRANSACTION_MINIMUM];
	scheme->transaction_maximum = numbers[KEY_TRANSACTION_MAXIMUM];
	scheme->free_count = numbers[KEY_FREE_COUNT];
	scheme->free_amount = numbers[KEY_FREE_AMOUNT];
	check_limits("minimum_amount", scheme->minimum_amount,
				 "maximum_amount", scheme->maximum_amount);
	check_limits("per_transaction_minimum", scheme->transaction_minimum,
				 "per_transaction_maximum", scheme->transaction_maximum);
}

/* The larger of a scale and that of a number, which may be absent. */
static int
wider(int scale, Numeric number)
{
	return number == NULL ? scale : Max(scale, num_scale(number));
}

/* Scales that hold every quantity and every amount; beyond its limit numeric would round. */
static void
measure_scales(PriceScheme *scheme)
{
	int			quantity = wider(0, scheme->free_quantity);
	int			amount = wider(wider(0, scheme->minimum_amount), scheme->maximum_amount);

	amount = wider(wider(amount, scheme->transaction_minimum), scheme->transaction_maximum);
	for (int i = 0; i < scheme->tier_count; i++)
	{
		PriceTier  *tier = &scheme->tiers[i];

		quantity = wider(wider(quantity, tier->up_to), tier->package_size);
		amount = wider(wider(amount, tier->unit_amount), tier->flat_amount);
	}
	scheme->quantity_scale = quantity;
	scheme->amount_scale = amount;
	if (quantity + amount >= EXACT_SCALE_MAX)
		invalid_scheme("Its quantities and amounts have %d and %d digits after the point, "
					   "too many for an exact product.", quantity, amount);
}

/*
 * Parses and checks a scheme, in the current memory context.  Nothing of the
 * jsonb is kept.  Raises invalid_scheme, whose detail names the key, the tier
 * and what is expected.
 */
PriceScheme *
scheme_parse(Jsonb *jsonb)
{
	PriceScheme *scheme = palloc0(sizeof(PriceScheme));
	SchemeObject object = {0};

	if (!JB_ROOT_IS_OBJECT(jsonb))
		invalid_scheme("A price scheme must be a JSON object.");
	scheme->model = object.model = read_model(&jsonb->root);
	read_object(&object, &jsonb->root, models[scheme->model].required,
				models[scheme->model].optional | ANY_MODEL);
	fill_scheme(scheme, &object);
	if (models[scheme->model].tier_keys)
		read_tiers(scheme, &jsonb->root, object.numbers[KEY_OVERAGE_UNIT_AMOUNT]);
	else
	{
		scheme->tiers = palloc0(sizeof(PriceTier));
		scheme->tier_count = 1;
		fill_tier(scheme->tiers, &object);
		place_tier(scheme->tiers, NULL, false);
	}
	measure_scales(scheme);
	scheme->fixed = fixed_compile(scheme);
	return scheme;
}

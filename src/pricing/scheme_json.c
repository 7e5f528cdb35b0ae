/*
 * scheme_json.c
 *		Reads one JSON object of a price scheme, the scheme itself or a tier.
 *
 * What may stand where is data: the tables "keys" and "models".  An object is
 * read key by key against them into an array of numbers.  Only the object's own
 * level is looked at, so nesting costs nothing.
 */
#include "postgres.h"

#include "lib/num.h"
#include "pricing/scheme_json.h"

static const struct
{
	const char *name;
	bool		positive;		/* zero is refused, too */
}			keys[KEY_COUNT] = {
	[KEY_UP_TO] = {"up_to", true},
	[KEY_UNIT_AMOUNT] = {"unit_amount", false},
	[KEY_FLAT_AMOUNT] = {"flat_amount", false},
	[KEY_PACKAGE_SIZE] = {"package_size", true},
	[KEY_RATE] = {"rate", false},
	[KEY_FIXED_AMOUNT] = {"fixed_amount", false},
	[KEY_FREE_COUNT] = {"free_count", false},
	[KEY_FREE_AMOUNT] = {"free_amount", false},
	[KEY_TRANSACTION_MINIMUM] = {"per_transaction_minimum", false},
	[KEY_TRANSACTION_MAXIMUM] = {"per_transaction_maximum", false},
	[KEY_OVERAGE_UNIT_AMOUNT] = {"overage_unit_amount", false},
	[KEY_FREE_QUANTITY] = {"free_quantity", false},
	[KEY_MINIMUM_AMOUNT] = {"minimum_amount", false},
	[KEY_MAXIMUM_AMOUNT] = {"maximum_amount", false},
};

#define TIER_AMOUNTS (BIT(KEY_UNIT_AMOUNT) | BIT(KEY_FLAT_AMOUNT))
#define TIER_KEYS (BIT(KEY_UP_TO) | TIER_AMOUNTS | BIT(KEY_PACKAGE_SIZE))

/* The table of README.md, one row a model. */
const ModelRule models[] = {
	[MODEL_FLAT] = {"flat", BIT(KEY_FLAT_AMOUNT), 0, 0, 0},
	[MODEL_PER_UNIT] = {"per_unit", BIT(KEY_UNIT_AMOUNT), 0, 0, 0},
	[MODEL_PACKAGE] = {"package", BIT(KEY_UNIT_AMOUNT) | BIT(KEY_PACKAGE_SIZE), 0, 0, 0},
	[MODEL_STAIRSTEP] = {"stairstep", 0, BIT(KEY_OVERAGE_UNIT_AMOUNT),
	BIT(KEY_UP_TO) | BIT(KEY_FLAT_AMOUNT), BIT(KEY_FLAT_AMOUNT)},
	[MODEL_VOLUME] = {"volume", 0, BIT(KEY_OVERAGE_UNIT_AMOUNT), TIER_KEYS, TIER_AMOUNTS},
	[MODEL_GRADUATED] = {"graduated", 0, BIT(KEY_OVERAGE_UNIT_AMOUNT), TIER_KEYS, TIER_AMOUNTS},
	[MODEL_GRADUATED_PERCENTAGE] = {"graduated_percentage", 0, 0,
		BIT(KEY_UP_TO) | BIT(KEY_RATE) | BIT(KEY_FLAT_AMOUNT),
	BIT(KEY_RATE) | BIT(KEY_FLAT_AMOUNT)},
	[MODEL_PERCENTAGE] = {"percentage", BIT(KEY_RATE),
		BIT(KEY_FIXED_AMOUNT) | BIT(KEY_FREE_COUNT) | BIT(KEY_FREE_AMOUNT) |
	BIT(KEY_TRANSACTION_MINIMUM) | BIT(KEY_TRANSACTION_MAXIMUM), 0, 0},
};

#define MODEL_NAMES \
	"flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage"

/* For details: Key "unit_amount" of tier 2; palloc'd. */
static char *
name_place(const SchemeObject *object, const char *name)
{
	if (object->tier == 0)
		return psprintf("Key \"%s\"", name);
	return psprintf("Key \"%s\" of tier %d", name, object->tier);
}

char *
key_place(const SchemeObject *object, SchemeKey key)
{
	return name_place(object, keys[key].name);
}

/* What JSON holds instead of a number. */
static const char *
value_kind(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "a string";
	}
}

static const char *
skip_digits(const char *p)
{
	while (*p >= '0' && *p <= '9')
		p++;
	return p;
}

/*
 * Is this text a plain decimal number?  Stricter than numeric_in: what it takes
 * besides (NaN, Infinity, and from 16 on hexadecimal and underscores) is no
 * price, and the same text must mean the same on every server.
 */
static bool
text_is_decimal(const char *text)
{
	const char *p = text + strspn(text, " \t\n\r");
	const char *digits;
	int			count;

	if (*p == '+' || *p == '-')
		p++;
	digits = p;
	p = skip_digits(p);
	count = p - digits;
	if (*p == '.')
	{
		digits = ++p;
		p = skip_digits(p);
		count += p - digits;
	}
	if (count == 0)
		return false;
	if (*p == 'e' || *p == 'E')
	{
		p++;
		if (*p == '+' || *p == '-')
			p++;
		digits = p;
		p = skip_digits(p);
		if (p == digits || p - digits > 6)
			return false;
	}
	return p[strspn(p, " \t\n\r")] == '\0';
}

/* A number given as JSON number or decimal string, copied to this context. */
static Numeric
value_to_numeric(const SchemeObject *object, SchemeKey key, const JsonbValue *value)
{
	char	   *text;

	if (value->type == jbvNumeric)
		return DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
	if (value->type != jbvString)
		invalid_scheme("%s is %s, but must be a number or a decimal string.",
					   key_place(object, key), value_kind(value));
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (!text_is_decimal(text))
		invalid_scheme("%s is the string \"%s\", which is not a decimal number.",
					   key_place(object, key), text);
	return num_in(text);
}

/* Sign and, for free_count, wholeness. */
static void
number_check(const SchemeObject *object, SchemeKey key, Numeric number)
{
	int			sign = num_sign(number);

	if (sign < 0 || (sign == 0 && keys[key].positive))
		invalid_scheme("%s is %s, but must %s.", key_place(object, key), num_out(number),
					   keys[key].positive ? "be greater than zero" : "not be negative");
	if (key == KEY_FREE_COUNT && num_cmp(num_round(number, 0), number) != 0)
		invalid_scheme("%s is %s, but must be a whole number.",
					   key_place(object, key), num_out(number));
}

/* The names of a set of keys, for details; palloc'd. */
char *
key_names(int set)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int key = 0; key < KEY_COUNT; key++)
		if (set & BIT(key))
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", keys[key].name);
	return names.data;
}

/* The key of this name among those allowed here; any other name is an error. */
static SchemeKey
find_key(const SchemeObject *object, int allowed, const JsonbValue *name)
{
	char	   *text;

	for (int key = 0; key < KEY_COUNT; key++)
		if ((allowed & BIT(key)) &&
			strlen(keys[key].name) == (size_t) name->val.string.len &&
			memcmp(keys[key].name, name->val.string.val, name->val.string.len) == 0)
			return key;
	text = pnstrdup(name->val.string.val, name->val.string.len);
	invalid_scheme("%s is not known in model \"%s\", which takes %s%s.", name_place(object, text),
				   models[object->model].name,
				   object->tier == 0 && models[object->model].tier_keys ? "\"tiers\", " : "",
				   key_names(allowed));
}

/* One key of an object; null is for up_to alone. */
static void
read_pair(SchemeObject *object, int allowed, const JsonbValue *name, const JsonbValue *value)
{
	SchemeKey	key = find_key(object, allowed, name);

	if (key == KEY_UP_TO && value->type == jbvNull)
	{
		object->open = true;
		return;
	}
	object->numbers[key] = value_to_numeric(object, key, value);
	number_check(object, key, object->numbers[key]);
}

static bool
name_is(const JsonbValue *name, const char *text)
{
	return name->val.string.len == (int) strlen(text) &&
		memcmp(name->val.string.val, text, name->val.string.len) == 0;
}

/* All keys of an object; what is required must be there. */
void
read_object(SchemeObject *object, JsonbContainer *json, int required, int optional)
{
	JsonbIterator *it = JsonbIteratorInit(json);
	JsonbValue	name;
	JsonbValue	value;
	bool		tiered = models[object->model].tier_keys != 0;

	(void) JsonbIteratorNext(&it, &name, true); /* WJB_BEGIN_OBJECT */
	while (JsonbIteratorNext(&it, &name, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &value, true);
		if (object->tier == 0 && (name_is(&name, "model") || (tiered && name_is(&name, "tiers"))))
			continue;
		read_pair(object, required | optional, &name, &value);
	}
	for (int key = 0; key < KEY_COUNT; key++)
		if ((required & BIT(key)) && object->numbers[key] == NULL && !object->open)
			invalid_scheme("%s is missing.", key_place(object, key));
}

/* The model's name, from a scheme that is an object. */
PriceModel
read_model(JsonbContainer *json)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(json, "model", strlen("model"), &value) == NULL)
		invalid_scheme("Key \"model\" is missing; it is one of %s.", MODEL_NAMES);
	if (value.type != jbvString)
		invalid_scheme("Key \"model\" must be a string, one of %s.", MODEL_NAMES);
	for (size_t i = 0; i < lengthof(models); i++)
		if (name_is(&value, models[i].name))
			return i;
	invalid_scheme("Model \"%s\" is not known; it is one of %s.",
				   pnstrdup(value.val.string.val, value.val.string.len), MODEL_NAMES);
}

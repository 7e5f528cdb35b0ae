/*
 * mutate.c
 *		Changes to inputs that keep them JSON, beside the fuzzer's own changes of bytes.
 *
 * Half of the time one token, a number or a string, takes the place of another,
 * or a part in braces is doubled or removed.
 */
#include "postgres.h"

/* Names are the fuzzer's; it calls the first and offers the second. */
extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static const char *const numbers[] = {
	"0", "1", "2", "10", "0.5", "0.01", "1e-3", "999999999", "9223372036854775807", "1e18", "1e19", "0.000000000001", "1e40", "\"3.5\"", "null", "-1"
};

static const char *const words[] = {
	"\"model\"", "\"tiers\"", "\"up_to\"", "\"unit_amount\"", "\"flat_amount\"", "\"package_size\"", "\"rate\"",
	"\"fixed_amount\"", "\"free_count\"", "\"free_amount\"", "\"per_transaction_minimum\"",
	"\"per_transaction_maximum\"", "\"overage_unit_amount\"", "\"free_quantity\"", "\"minimum_amount\"",
	"\"maximum_amount\"", "\"flat\"", "\"per_unit\"", "\"package\"", "\"stairstep\"", "\"volume\"",
	"\"graduated\"", "\"graduated_percentage\"", "\"percentage\""
};

/* Puts length bytes in the place of [from, to); returns the new size. */
static size_t
splice(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to, const char *bytes, size_t length)
{
	if (size - (to - from) + length > max_size)
		return size;
	memmove(data + from + length, data + to, size - to);
	memcpy(data + from, bytes, length);
	return size - (to - from) + length;
}

static bool
is_digit(uint8_t c)
{
	return (c >= '0' && c <= '9') || c == '.';
}

/* End of the token that begins at i. */
static size_t
token_end(const uint8_t *data, size_t size, size_t i)
{
	if (data[i] == '"')
	{
		while (++i < size && data[i] != '"')
			;
		return Min(i + 1, size);
	}
	while (i < size && (is_digit(data[i]) || data[i] == 'e' || data[i] == '-'))
		i++;
	return i;
}

/* Another number or word in the place of the first at or after a place chosen by the seed. */
static size_t
replace_token(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	const char *bytes;

	for (size_t i = seed % size; i < size; i++)
	{
		if (data[i] != '"' && !is_digit(data[i]))
			continue;
		bytes = data[i] == '"' ? words[seed / 7 % lengthof(words)] : numbers[seed / 7 % lengthof(numbers)];
		return splice(data, size, max_size, i, token_end(data, size, i), bytes, strlen(bytes));
	}
	return size;
}

/* Doubles or removes the innermost part in braces at or after a place chosen by the seed. */
static size_t
change_part(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t		from = 0;
	char		part[256];

	for (size_t i = seed % size; i < size; i++)
	{
		if (data[i] == '{')
			from = i;
		if (data[i] != '}' || from == 0 || i + 2 - from > sizeof(part))
			continue;
		part[0] = ',';
		memcpy(part + 1, data + from, i + 1 - from);
		if (seed / 5 % 3 != 0)
			return splice(data, size, max_size, i + 1, i + 1, part, i + 2 - from);
		return splice(data, size, max_size, from, i + 1 < size && data[i + 1] == ',' ? i + 2 : i + 1, "", 0);
	}
	return size;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	unsigned int choice = seed % 8;

	seed /= 8;
	if (size == 0 || choice < 4)
		return LLVMFuzzerMutate(data, size, max_size);
	if (choice < 7)
		return replace_token(data, size, max_size, seed);
	return change_part(data, size, max_size, seed);
}

/*
 * canonical.c
 *		The canonical form of a document, which its seal covers.
 *
 * Version 1, in UTF-8 or the database's encoding: a line "billing document 1",
 * then for the header, each line by line_no and each tax by category and rate
 * a line "[header]", "[line]" or "[tax]" and below it "column=value" for every
 * sealed column that is not null, in the order of the table.  Numbers are
 * decimal text, instants microseconds since 2000-01-01 00:00 UTC, booleans t
 * or f, objects their jsonb text; backslash and line feed in texts are written
 * \\ and \n.  doc/ tells auditors the same.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "invoice/canonical.h"
#include "lib/num.h"

const Column header_columns[HEADER_COUNT] = {
#define X(name, type, sealed) {#name, sizeof(#name) - 1, type, sealed},
	HEADER_COLUMNS(X)
};
const Column line_columns[LINE_COUNT] = {
	LINE_COLUMNS(X)
};
const Column tax_columns[TAX_COUNT] = {
	TAX_COLUMNS(X)
};
const Column use_columns[USE_COUNT] = {
	USE_COLUMNS(X)
};
const Column seal_columns[SEAL_COUNT] = {
	SEAL_COLUMNS(X)
};
const Column charge_columns[CHARGE_COUNT] = {
	CHARGE_COLUMNS(X)
#undef X
};

void
canonical_begin(StringInfo form)
{
	appendStringInfoString(form, "billing document 1\n");
}

/* Adds bytes; inlined, as a form is made of a hundred and fifty short stretches. */
static inline void
append_bytes(StringInfo form, const char *bytes, int length)
{
	if (form->len + length >= form->maxlen)
		enlargeStringInfo(form, length);
	memcpy(form->data + form->len, bytes, length);
	form->len += length;
}

/* Adds text in which backslash and line feed are escaped. */
static void
append_escaped(StringInfo form, const char *text, int length)
{
	const char *end = text + length;

	if (memchr(text, '\\', length) == NULL && memchr(text, '\n', length) == NULL)
		append_bytes(form, text, length);
	else
		for (; text < end; text++)
		{
			if (*text == '\\')
				append_bytes(form, "\\\\", 2);
			else if (*text == '\n')
				append_bytes(form, "\\n", 2);
			else
				append_bytes(form, text, 1);
		}
}

static void
append_int64(StringInfo form, int64 value)
{
	char		digits[32];

	append_bytes(form, digits, pg_lltoa(value, digits));
}

/*
 * A number's decimal text.  The few numbers that a batch repeats (the amounts
 * of one line are often equal, rates, zeros) are remembered by their bytes, as
 * numeric_out would be half the cost of the form.
 */
static void
append_numeric(StringInfo form, Numeric number)
{
	static struct
	{
		int			size;
		int			length;
		char		bytes[12];
		char		text[20];
	}			seen[256];
	const char *bytes = VARDATA_ANY(number);
	int			size = VARSIZE_ANY_EXHDR(number);
	int			slot = hash_bytes((const unsigned char *) bytes, size) % lengthof(seen);
	char	   *text;
	int			length;

	if (seen[slot].size == size && memcmp(seen[slot].bytes, bytes, size) == 0)
	{
		append_bytes(form, seen[slot].text, seen[slot].length);
		return;
	}
	text = num_out(number);
	length = strlen(text);
	append_bytes(form, text, length);
	if (size <= (int) sizeof(seen[slot].bytes) && length <= (int) sizeof(seen[slot].text))
	{
		seen[slot].size = size;
		seen[slot].length = length;
		memcpy(seen[slot].text, text, length);
		memcpy(seen[slot].bytes, bytes, size);
	}
}

/*
 * An object's text.  That of a column before is remembered by its bytes: all
 * documents of a batch have the same seller, and most no metadata.
 */
static void
append_object(StringInfo form, const Column *column, Jsonb *object)
{
	static struct
	{
		const Column *column;
		int			size;
		int			length;
		char		bytes[1000];
		char		text[1000];
	}			seen[8], *last;
	int			size = VARSIZE(object);
	int			start = form->len;
	char	   *text;

	last = &seen[(uintptr_t) column / sizeof(Column) % lengthof(seen)];
	if (last->column == column && last->size == size && memcmp(last->bytes, object, size) == 0)
	{
		append_bytes(form, last->text, last->length);
		return;
	}
	text = JsonbToCString(NULL, &object->root, size);
	append_escaped(form, text, strlen(text));
	if (size > (int) sizeof(last->bytes) || form->len - start > (int) sizeof(last->text))
		return;
	last->column = column;
	last->size = size;
	memcpy(last->bytes, object, size);
	last->length = form->len - start;
	memcpy(last->text, form->data + start, last->length);
}

/* Adds a value as its column's type has it in the form. */
static void
append_value(StringInfo form, const Column *column, Datum value)
{
	text	   *string;

	switch (column->type)
	{
		case INT4OID:
			append_int64(form, DatumGetInt32(value));
			break;
		case INT8OID:
		case TIMESTAMPTZOID:
			append_int64(form, DatumGetInt64(value));
			break;
		case BOOLOID:
			append_bytes(form, DatumGetBool(value) ? "t" : "f", 1);
			break;
		case NUMERICOID:
			append_numeric(form, DatumGetNumeric(value));
			break;
		case TEXTOID:
			string = DatumGetTextPP(value);
			append_escaped(form, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
			break;
		case JSONBOID:
			append_object(form, column, DatumGetJsonbP(value));
			break;
		default:
			elog(ERROR, "type %u has no canonical form", column->type);
	}
}

/* Adds a header, line or tax. */
void
canonical_row(StringInfo form, const char *part, const Column *columns, int ncolumns,
			  const Datum *values, const bool *nulls)
{
	append_bytes(form, "[", 1);
	append_bytes(form, part, strlen(part));
	append_bytes(form, "]\n", 2);
	for (int i = 0; i < ncolumns; i++)
	{
		if (!columns[i].sealed || nulls[i])
			continue;
		append_bytes(form, columns[i].name, columns[i].name_length);
		append_bytes(form, "=", 1);
		append_value(form, &columns[i], values[i]);
		append_bytes(form, "\n", 1);
	}
}

/* The payload hash. */
Digest
canonical_hash(StringInfo form)
{
	return hash_digest(form->data, form->len);
}

/* One of the tables that hold a document. */
typedef struct StoredPart
{
	const char *part;
	const char *table;
	const char *key;
	const char *order;
	const Column *columns;
	int			ncolumns;
	SpiQuery	query;			/* made at the first use */
} StoredPart;

static void
prepare_part(StoredPart *part)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < part->ncolumns; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "SELECT ", part->columns[i].name);
	appendStringInfo(&text, " FROM billing.%s WHERE account_id = $1 AND %s = $2 ORDER BY %s",
					 part->table, part->key, part->order);
	part->query.text = MemoryContextStrdup(TopMemoryContext, text.data);
	part->query.nargs = 2;
	part->query.argtypes[0] = part->query.argtypes[1] = INT8OID;
}

/* Adds the stored rows of one table that belong to a document; returns how many. */
static uint64
append_stored(StringInfo form, StoredPart *part, int64 account_id, int64 invoice_id, bool read_only)
{
	Datum		args[2] = {Int64GetDatum(account_id), Int64GetDatum(invoice_id)};
	Datum	   *values = palloc(sizeof(Datum) * part->ncolumns);
	bool	   *nulls = palloc(sizeof(bool) * part->ncolumns);
	uint64		count;

	if (part->query.text == NULL)
		prepare_part(part);
	count = query_run(&part->query, args, NULL, read_only);
	for (uint64 row = 0; row < count; row++)
	{
		for (int i = 0; i < part->ncolumns; i++)
			values[i] = query_datum(row, i + 1, &nulls[i]);
		canonical_row(form, part->part, part->columns, part->ncolumns, values, nulls);
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/*
 * Payload hash of a document as it is stored now; *found tells whether it has
 * a header at all.  read_only keeps to the caller's snapshot.  The caller is
 * connected to SPI.
 */
Digest
canonical_stored_document(int64 account_id, int64 invoice_id, bool read_only, bool *found)
{
	static StoredPart parts[] = {
		{"header", "invoice_header", "id", "id", header_columns, HEADER_COUNT, {0}},
		{"line", "invoice_line", "invoice_id", "line_no", line_columns, LINE_COUNT, {0}},
		{"tax", "invoice_tax", "invoice_id", "category COLLATE \"C\", rate", tax_columns, TAX_COUNT, {0}},
	};
	StringInfoData form;

	initStringInfo(&form);
	canonical_begin(&form);
	*found = append_stored(&form, &parts[0], account_id, invoice_id, read_only) == 1;
	(void) append_stored(&form, &parts[1], account_id, invoice_id, read_only);
	(void) append_stored(&form, &parts[2], account_id, invoice_id, read_only);
	return canonical_hash(&form);
}

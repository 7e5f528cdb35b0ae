/*
 * render.c
 *		The text of a message: a template with its fields filled in.
 *
 * In C, as a run renders two texts a message.  What templates may hold was
 * proved when they were written (template.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(billing_render_template);

/* Appends the value of a field of a JSON object; nothing where it has none. */
static void
append_field(StringInfo result, Datum fields, const char *name, int length)
{
	LOCAL_FCINFO(call, 2);
	Datum		value;

	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0].value = fields;
	call->args[0].isnull = false;
	call->args[1].value = PointerGetDatum(cstring_to_text_with_len(name, length));
	call->args[1].isnull = false;
	value = jsonb_object_field_text(call);
	if (!call->isnull)
		appendStringInfoString(result, TextDatumGetCString(value));
}

/* Length of the name of a field that begins behind a brace; 0: it is none. */
static int
field_length(const char *name)
{
	int			length = (int) strspn(name, "abcdefghijklmnopqrstuvwxyz_");

	return name[length] == '}' ? length : 0;
}

/*
 * billing_internal.render_template(template, fields), in one pass: what a
 * value holds is never read as a field.  Doubled braces stand for one.
 */
Datum
billing_render_template(PG_FUNCTION_ARGS)
{
	const char *rest = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StringInfoData result;

	initStringInfo(&result);
	while (*rest != '\0')
	{
		int			plain = (int) strcspn(rest, "{}");
		int			length;

		appendBinaryStringInfo(&result, rest, plain);
		rest += plain;
		if (*rest == '\0')
			break;
		length = *rest == '{' ? field_length(rest + 1) : 0;
		if (length > 0)
		{
			append_field(&result, PG_GETARG_DATUM(1), rest + 1, length);
			rest += length + 2;
			continue;
		}
		appendStringInfoChar(&result, *rest);
		rest += rest[1] == *rest ? 2 : 1;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(result.data, result.len));
}

/*
 * guard.c
 *		Triggers that keep finished documents as they are.
 *
 * A second wall: nobody but the owner of the books may write the tables at
 * all.  They are ENABLE ALWAYS, so only a superuser or the owner gets round
 * them, by disabling them, and what he then changes verify_chain() names.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "compat.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

PG_FUNCTION_INFO_V1(billing_header_immutable);
PG_FUNCTION_INFO_V1(billing_part_immutable);
PG_FUNCTION_INFO_V1(billing_always_immutable);

pg_noreturn static void
refuse(TriggerData *trigger, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_DOCUMENT_IMMUTABLE),
			 errmsg("%s in table \"%s\" cannot be changed", what, RelationGetRelationName(trigger->tg_relation)),
			 errhint("Correct a finished document with a new one.")));
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "must be called as a trigger");
	return (TriggerData *) fcinfo->context;
}

/* What a BEFORE ROW trigger returns to let the change happen. */
static Datum
let_pass(TriggerData *trigger)
{
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
						   : trigger->tg_trigtuple);
}

static char *
column_text(TriggerData *trigger, HeapTuple tuple, const char *column)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	return SPI_getvalue(tuple, desc, SPI_fnumber(desc, column));
}

/* May a finished document go from one status to the other? */
static bool
transition_allowed(const char *from, const char *to)
{
	static const char *const allowed[][2] = {
		{"open", "paid"}, {"open", "void"}, {"open", "uncollectible"}, {"uncollectible", "paid"},
		{"paid", "open"}, {"paid", "void"}
	};

	if (strcmp(from, to) == 0)
		return true;
	for (int i = 0; i < (int) lengthof(allowed); i++)
		if (strcmp(from, allowed[i][0]) == 0 && strcmp(to, allowed[i][1]) == 0)
			return true;
	return false;
}

/* Of a finished header only the status and what is settled may move. */
static void
check_header_update(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);
		bool		old_null,
					new_null;
		Datum		old_value,
					new_value;

		if (att->attisdropped || strcmp(name, "status") == 0 || strcmp(name, "amount_paid") == 0 ||
			strcmp(name, "amount_credited") == 0)
			continue;
		old_value = heap_getattr(trigger->tg_trigtuple, i + 1, desc, &old_null);
		new_value = heap_getattr(trigger->tg_newtuple, i + 1, desc, &new_null);
		if (old_null != new_null ||
			(!old_null && !datum_image_eq(old_value, new_value, att->attbyval, att->attlen)))
			refuse(trigger, "a finished document");
	}
	if (!transition_allowed(column_text(trigger, trigger->tg_trigtuple, "status"),
							column_text(trigger, trigger->tg_newtuple, "status")))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_WRONG_DOCUMENT_STATE),
				 errmsg("a document cannot go from \"%s\" to \"%s\"",
						column_text(trigger, trigger->tg_trigtuple, "status"),
						column_text(trigger, trigger->tg_newtuple, "status"))));
}

/* billing_internal.header_immutable(): drafts may change and go, finished documents may not. */
Datum
billing_header_immutable(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (strcmp(column_text(trigger, trigger->tg_trigtuple, "status"), "draft") != 0)
	{
		if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
			refuse(trigger, "a finished document");
		check_header_update(trigger);
	}
	return let_pass(trigger);
}

/* Refuses a row that is, or would become, part of a document that is not a draft. */
static void
check_is_draft(TriggerData *trigger, HeapTuple tuple)
{
	static SpiQuery query = {
		.text = "SELECT FROM billing.invoice_header WHERE account_id = $1 AND id = $2 AND status = 'draft'",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Datum		key[2];
	bool		isnull;

	key[0] = SPI_getbinval(tuple, desc, SPI_fnumber(desc, "account_id"), &isnull);
	key[1] = SPI_getbinval(tuple, desc, SPI_fnumber(desc, "invoice_id"), &isnull);
	if (query_run(&query, key, NULL, false) == 0)
		refuse(trigger, "a part of a finished document");
}

/* billing_internal.part_immutable(): lines, taxes and charges follow their document. */
Datum
billing_part_immutable(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);
	BooksScope	scope;

	SPI_connect();
	books_become_owner(&scope);
	check_is_draft(trigger, trigger->tg_trigtuple);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		check_is_draft(trigger, trigger->tg_newtuple);
	books_leave(&scope);
	SPI_finish();
	return let_pass(trigger);
}

/* billing_internal.always_immutable() */
Datum
billing_always_immutable(PG_FUNCTION_ARGS)
{
	refuse(trigger_data(fcinfo), "a finished document");
}

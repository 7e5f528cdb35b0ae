/*
 * usage.c
 *		What every new usage event must satisfy, however it arrived.
 *
 * A statement-level trigger, so that COPY and INSERT obey what the calls obey.
 * It locks the accounts first: an event that a bill run could no longer see
 * must find billed_through already raised.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"

#include "account/account.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

PG_FUNCTION_INFO_V1(billing_usage_event_arrived);

/* Locks the accounts of the new events in ascending order. */
static void
lock_accounts(void)
{
	uint64		count;
	int64	   *ids;

	SPI_execute("SELECT DISTINCT account_id FROM arrived ORDER BY 1", true, 0);
	count = SPI_processed;
	ids = palloc(sizeof(int64) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
		ids[i] = DatumGetInt64(query_value(i, 1));
	for (uint64 i = 0; i < count; i++)
		account_lock(ids[i]);
}

/* Refuses an event that no item would ever charge. */
static void
check_events(void)
{
	bool		has_meter;
	bool		isnull;

	SPI_execute("SELECT a.event_key, a.meter, a.subscription_id, "
				" EXISTS (SELECT FROM billing.subscription_item i"
				"   JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id"
				"   JOIN billing.price p ON p.code = v.price AND p.meter = a.meter"
				"  WHERE i.account_id = a.account_id AND i.subscription_id = a.subscription_id) FROM arrived a"
				" WHERE NOT EXISTS (SELECT FROM billing.subscription_item i"
				"   JOIN billing.subscription s ON s.account_id = i.account_id AND s.id = i.subscription_id"
				"   JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id"
				"   JOIN billing.price p ON p.code = v.price AND p.meter = a.meter"
				"  WHERE i.account_id = a.account_id AND i.subscription_id = a.subscription_id"
				"    AND a.at >= i.start_at AND a.at < coalesce(least(i.end_at, s.end_at), 'infinity')"
				"    AND NOT EXISTS (SELECT FROM billing.interruption n"
				"      WHERE n.account_id = s.account_id AND n.subscription_id = s.id"
				"       AND a.at >= n.from_at AND a.at < coalesce(n.to_at, 'infinity'))) LIMIT 1",
				false, 1);
	if (SPI_processed == 0)
		return;
	has_meter = DatumGetBool(query_datum(0, 4, &isnull));
	if (has_meter)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_USAGE_OUTSIDE_SUBSCRIPTION),
				 errmsg("usage event \"%s\" lies outside the life of subscription " INT64_FORMAT,
						query_text(0, 1), query_int64(0, 3, 0))));
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_UNKNOWN_METER),
			 errmsg("subscription " INT64_FORMAT " has no item on meter \"%s\"",
					query_int64(0, 3, 0), query_text(0, 2))));
}

/* Late events make their accounts due for comparison. */
static void
note_late_events(void)
{
	SPI_execute("UPDATE billing.account_state s SET recompute_from = least(s.recompute_from, a.at)"
				" FROM (SELECT account_id, min(at) AS at FROM arrived GROUP BY account_id) a"
				" WHERE s.account_id = a.account_id AND a.at < s.billed_through",
				false, 0);
}

/* billing_internal.usage_event_arrived() */
Datum
billing_usage_event_arrived(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	BooksScope	scope;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_newtable == NULL)
		elog(ERROR, "usage_event_arrived() must be a statement trigger with a transition table");
	SPI_connect();
	SPI_register_trigger_data(trigger);
	books_become_owner(&scope);
	lock_accounts();
	check_events();
	note_late_events();
	books_leave(&scope);
	SPI_finish();
	return PointerGetDatum(NULL);
}

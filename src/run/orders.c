/*
 * orders.c
 *		What the leader of a bill run tells its workers, and how they answer.
 *
 * A shared segment holds who called, what to bill and what the caller's session
 * changed of its settings; and a place for each worker, into which it writes the
 * error that ends it, so that the caller hears of it.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

#include "compat.h"
#include "run/orders.h"

/* The text behind the places for failures: entity or "", then names and values of settings. */
static char *
text_of(const Orders *orders)
{
	return (char *) &orders->failures[orders->workers];
}

/* Must workers have a setting as this session changed it?  They have no client, and transactions of their own. */
static bool
is_passed_on(const struct config_generic *setting)
{
	return (setting->source == PGC_S_SESSION || setting->source == PGC_S_CLIENT) &&
		(setting->context == PGC_USERSET || setting->context == PGC_SUSET) &&
		!(setting->flags & GUC_NO_RESET_ALL) && strcmp(setting->name, "client_encoding") != 0;
}

/*
 * Entity, and names and values of settings that the caller's session changed;
 * those of the user and the database the workers find themselves.
 */
static void
append_text(StringInfo text, const BillRun *run)
{
	int			count;
	struct config_generic **settings = get_guc_variables(&count);

	appendBinaryStringInfo(text, run->entity ? run->entity : "", (run->entity ? strlen(run->entity) : 0) + 1);
	for (int i = 0; i < count; i++)
	{
		const char *value = is_passed_on(settings[i]) ? GetConfigOption(settings[i]->name, false, false) : NULL;

		if (value == NULL)
			continue;
		appendBinaryStringInfo(text, settings[i]->name, strlen(settings[i]->name) + 1);
		appendBinaryStringInfo(text, value, strlen(value) + 1);
	}
}

/* The orders in a segment that lasts until it is detached; NULL where the server has none to spare. */
dsm_segment *
orders_write(const BillRun *run, int workers)
{
	Size		size = offsetof(Orders, failures) + sizeof(WorkerFailure) * workers;
	StringInfoData text;
	dsm_segment *segment;
	Orders	   *orders;

	initStringInfo(&text);
	append_text(&text, run);
	segment = dsm_create(size + text.len, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);
	orders = dsm_segment_address(segment);
	memset(orders, 0, size);
	orders->workers = workers;
	orders->database = MyDatabaseId;
	orders->authenticated_user = GetAuthenticatedUserId();
	orders->session_user = GetSessionUserId();
	orders->session_is_superuser = superuser_arg(GetSessionUserId());
	orders->caller = run->scope.saved_user;
	orders->finalize = run->options.finalize;
	orders->batch_size = run->batch_size;
	orders->run_id = run->id;
	orders->spread = run->spread;
	orders->at = run->options.at;
	orders->length = text.len;
	memcpy(text_of(orders), text.data, text.len);
	return segment;
}

/* Takes the settings behind the entity; one that cannot be had here is logged. */
void
orders_take_settings(const Orders *orders)
{
	const char *end = text_of(orders) + orders->length;
	const char *name = text_of(orders) + strlen(text_of(orders)) + 1;

	while (name < end)
	{
		const char *value = name + strlen(name) + 1;

		(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, WARNING, false);
		name = value + strlen(value) + 1;
	}
}

/* The run as the leader ordered it. */
BillRun *
orders_take(const Orders *orders, MemoryContext memory)
{
	BillRun    *run = MemoryContextAllocZero(memory, sizeof(BillRun));

	run->kind = &bill_run_kind;
	run->id = orders->run_id;
	run->options.at = orders->at;
	run->options.finalize = orders->finalize;
	run->spread = orders->spread;
	run->batch_size = orders->batch_size;
	if (text_of(orders)[0] != '\0')
		run->entity = MemoryContextStrdup(memory, text_of(orders));
	return run;
}

static void
copy_text(char *place, const char *text)
{
	int			length = text != NULL ? pg_mbcliplen(text, (int) strlen(text), FAILURE_TEXT - 1) : 0;

	if (length > 0)
		memcpy(place, text, length);
	place[length] = '\0';
}

/* A worker leaves the error that ends it to the leader. */
void
orders_leave_failure(Orders *orders, int worker, const ErrorData *error)
{
	WorkerFailure *failure = &orders->failures[worker - 1];

	failure->sqlerrcode = error->sqlerrcode;
	copy_text(failure->message, error->message);
	copy_text(failure->detail, error->detail);
	copy_text(failure->hint, error->hint);
	copy_text(failure->context, error->context);
}

/*
 * Tells the caller of the errors that ended workers; returns how many.  Those
 * that the leader sent away since nothing was left to do did not fail.
 */
int
orders_report_failures(const Orders *orders)
{
	int			count = 0;

	for (int i = 0; i < orders->workers; i++)
	{
		const WorkerFailure *failure = &orders->failures[i];

		if (failure->sqlerrcode == 0 || (orders->dismissed && failure->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN))
			continue;
		ereport(WARNING,
				(errcode(failure->sqlerrcode),
				 errmsg("bill run " INT64_FORMAT ": worker %d ended early: %s", orders->run_id, i + 1, failure->message),
				 failure->detail[0] != '\0' ? errdetail("%s", failure->detail) : 0,
				 failure->hint[0] != '\0' ? errhint("%s", failure->hint) : 0,
				 failure->context[0] != '\0' ? errcontext("%s", failure->context) : 0));
		count++;
	}
	return count;
}

/*
 * databases.c
 *		Commands that workers must not stand in the way of.
 *
 * The server refuses DROP, RENAME, SET TABLESPACE and copying a DATABASE while
 * others are connected to it, and ends no workers by itself.  So before such a
 * command, where its caller may give it at all, the workers in that database
 * are ended and kept out until its transaction is over, however that ends.
 *
 * So they are before DROP EXTENSION, which locks one table of the books after
 * the other and would meet a run that does the same in another order, and
 * before ALTER EXTENSION UPDATE, which does so with setup() in its transaction.
 * The commit wakes the scheduler, which finds nothing to serve and ends.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "worker/worker.h"

#define WAIT_FOR_WORKERS 10000	/* milliseconds; then the server says that others are connected */
#define WAIT_STEP 10

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_access = NULL;
static List *held = NIL;		/* databases, by this transaction */

/* Value of an option by name, or NULL. */
static const char *
option_value(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* Name of the database that nobody may be connected to for the command, or NULL. */
static const char *
database_needed(Node *statement)
{
	const char *template;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname : NULL;
		case T_AlterDatabaseStmt:
			return option_value(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL ?
				((AlterDatabaseStmt *) statement)->dbname : NULL;
		case T_CreatedbStmt:
			template = option_value(((CreatedbStmt *) statement)->options, "template");
			return template != NULL ? template : "template1";
		default:
			return NULL;
	}
}

/*
 * May the caller drop or copy the database?  The command itself decides; this
 * only keeps others from ending workers.
 */
static bool
may_have_database(Oid database, bool copy)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	Form_pg_database form;
	bool		allowed;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_database) GETSTRUCT(tuple);
	allowed = has_privs_of_role(GetUserId(), form->datdba) || (copy && form->datistemplate);
	ReleaseSysCache(tuple);
	return allowed;
}

/* Does a superuser drop or update the extension? */
static bool
changes_extension(Node *statement)
{
	DropStmt   *drop = (DropStmt *) statement;
	ListCell   *cell;

	if (!superuser())
		return false;
	if (IsA(statement, AlterExtensionStmt))
		return strcmp(((AlterExtensionStmt *) statement)->extname, "billing") == 0;
	if (!IsA(statement, DropStmt) || drop->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, drop->objects)
		if (strcmp(strVal(lfirst(cell)), "billing") == 0)
		return true;
	return false;
}

/* The database that the statement needs for itself and its caller may have, or InvalidOid. */
static Oid
database_to_hold(Node *statement)
{
	const char *name = database_needed(statement);
	Oid			database = name ? get_database_oid(name, true) : InvalidOid;

	if (in_runner())
		return InvalidOid;
	if (changes_extension(statement))
		return MyDatabaseId;
	if (!OidIsValid(database) || !may_have_database(database, IsA(statement, CreatedbStmt)))
		return InvalidOid;
	return database;
}

/* Keeps workers out of the database until the end of the transaction. */
static void
hold(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	held = lappend_oid(held, database);
	MemoryContextSwitchTo(old);
	database_hold(database);
}

/* At the end of a transaction. */
void
databases_release(void)
{
	ListCell   *cell;

	foreach(cell, held)
		database_release(lfirst_oid(cell));
	list_free(held);
	held = NIL;
}

/* Ends the workers in a held database and waits until they are gone. */
static void
end_workers(Oid database)
{
	for (int waited = 0; waited < WAIT_FOR_WORKERS; waited += WAIT_STEP)
	{
		if (database_signal_workers(database, waited == 0 ? SIGTERM : 0) == 0)
			return;
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_STEP, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Hands the statement on. */
static void
next_process_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
					 ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_utility != NULL)
		next_utility(statement, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, dest, qc);
}

/* Runs a statement, without workers in the database that it needs for itself. */
static void
process_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	Oid			database = database_to_hold(statement->utilityStmt);

	if (OidIsValid(database))
	{
		hold(database);
		end_workers(database);
	}
	next_process_utility(statement, query, read_only_tree, context, params, environment, dest, qc);
}

/* Dropping the extension is news for the scheduler, if it is committed. */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_access != NULL)
		next_access(access, class, object, sub, arg);
	if (access == OAT_DROP && class == ExtensionRelationId && get_extension_oid("billing", true) == object)
		wake_at_commit();
}

/* While the library is preloaded. */
void
databases_install_hooks(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	next_access = object_access_hook;
	object_access_hook = object_access;
}

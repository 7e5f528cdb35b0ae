/*
 * gate.c
 *		The door between callers and the books: rights, identity, owner.
 *
 * A call first proves the caller's right, then writes as the owner of the
 * books under SECURITY_LOCAL_USERID_CHANGE, so no caller needs a privilege on
 * a table and nothing is SECURITY DEFINER (which would run the books' triggers
 * as a superuser).  (Sub)transaction abort restores the user by itself; every
 * other path calls books_leave, a run before each commit.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "billing.h"
#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

/* Owner of the books; books_not_set_up where there are none. */
Oid
books_owner(void)
{
	Oid			book = books_relation("book");
	HeapTuple	tuple = OidIsValid(book) ? SearchSysCache1(RELOID, ObjectIdGetDatum(book)) : NULL;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_BOOKS_NOT_SET_UP),
				 errmsg("books not set up"),
				 errhint("Call billing.setup() as a superuser.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Locks the search path, and how literals are read, for the statements until
 * books_leave: bodies are parsed in the session that calls them.
 */
void
books_lock_search_path(BooksScope *scope)
{
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (!standard_conforming_strings)
		(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Goes on as the owner of the books, with a locked search path and without
 * JIT: plans for any values are thought dear, so that each batch of a run over
 * many accounts would compile its look-ups anew, for longer than they take.
 */
void
books_become_owner(BooksScope *scope)
{
	Oid			owner = books_owner();

	GetUserIdAndSecContext(&scope->saved_user, &scope->saved_security);
	SetUserIdAndSecContext(owner, scope->saved_security | SECURITY_LOCAL_USERID_CHANGE);
	books_lock_search_path(scope);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Back to the caller; not needed after an error. */
void
books_leave(BooksScope *scope)
{
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->saved_user, scope->saved_security);
}

/* Version of the extension's functions in this database; connected to SPI. */
char *
books_extension_version(void)
{
	static SpiQuery query = {.text = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'billing'"};

	return query_run(&query, NULL, NULL, true) == 1 ? query_text(0, 1) : pstrdup("none");
}

/* Refuses books of another version than the library's. */
static void
refuse_version(const char *version)
{
	bool		functions_fit = strcmp(books_extension_version(), BILLING_VERSION) == 0;

	ereport(ERROR,
			(errcode(ERRCODE_BILLING_BOOKS_VERSION_MISMATCH),
			 errmsg("engine is version %s, books are version %s", BILLING_VERSION, version),
			 functions_fit ? errhint("Call billing.setup() to migrate the books.") :
			 errhint("Use ALTER EXTENSION billing UPDATE, then call billing.setup() to migrate the books.")));
}

/*
 * Refuses books of another version and, for calls that bill, books that were
 * copied here and not adopted, and an engine that is switched off.  Runs as
 * the owner, connected to SPI.
 */
void
books_check(bool must_be_adopted)
{
	static SpiQuery query = {.text = "SELECT version, system_identifier, database_oid FROM billing.book"};
	char	   *version;

	if (query_run(&query, NULL, NULL, true) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_BOOKS_NOT_SET_UP),
				 errmsg("books not set up"),
				 errdetail("The tables exist, but table \"%s\" is empty.", "book"),
				 errhint("Call billing.setup() as a superuser.")));
	version = query_text(0, 1);
	if (strcmp(version, BILLING_VERSION) != 0)
		refuse_version(version);
	if (!must_be_adopted)
		return;
	if (!billing_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_DISABLED),
				 errmsg("billing is disabled in this copy of the books"),
				 errhint("Set billing.enabled = on where this copy may bill.")));
	if (query_int64(0, 2, 0) != (int64) GetSystemIdentifier() ||
		query_int64(0, 3, 0) != (int64) MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_BOOKS_NOT_ADOPTED),
				 errmsg("these books were copied here from another cluster or database"),
				 errhint("Make sure that the original no longer bills, then call billing.adopt_books().")));
}

/* Refuses instants that are out of range or too far ahead of the clock. */
void
books_check_at(TimestampTz at)
{
	check_instant(at, "at");
	if (at > GetCurrentTimestamp() + (int64) billing_max_future * USECS_PER_MINUTE)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_RUN_IN_FUTURE),
				 errmsg("at %s lies too far in the future", timestamptz_to_str(at)),
				 errdetail("billing.max_future allows %d minutes.", billing_max_future),
				 errhint("Tests may raise billing.max_future.")));
}

/*
 * Asks for the caller's grants of this kind, which superusers and the owner
 * need not have: *all, one of them is for all entities or for the one that is
 * known (named, or that of the account; 0: none); returns text[] of all
 * entities that they name, null: none.  Runs as the owner, connected to SPI.
 */
static Datum
find_grants(Oid caller, AccessKind kind, int64 account_id, const char *entity, bool *all, bool *isnull)
{
	static SpiQuery query = {
		.text = "SELECT bool_or(a.entity = '' OR a.entity = coalesce($3,"
		" (SELECT entity FROM billing.account WHERE account_id = $4))), array_agg(DISTINCT a.entity) FROM billing.access a"
		" JOIN pg_catalog.pg_roles r ON r.rolname = a.role_name"
		" WHERE array_position(ARRAY['reader','application','operator','administrator'], a.kind) > $2"
		" AND pg_catalog.pg_has_role($1, r.oid, 'USAGE')",
		.nargs = 4, .argtypes = {OIDOID, INT4OID, TEXTOID, INT8OID}
	};
	Datum		values[4] = {ObjectIdGetDatum(caller), Int32GetDatum(kind), (Datum) 0, Int64GetDatum(account_id)};
	Datum		suffices;

	if (entity != NULL)
		values[2] = CStringGetTextDatum(entity);
	(void) query_run(&query, values, entity ? NULL : "  n ", true);
	suffices = query_datum(0, 1, isnull);
	*all = !*isnull && DatumGetBool(suffices);
	return query_datum(0, 2, isnull);
}

static void
refuse_caller(Oid caller)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for role \"%s\"", GetUserNameFromId(caller, false)),
			 errhint("An administrator can grant it with billing.grant_access().")));
}

/* Superusers and the owner of the books, as whom this runs, may do everything. */
static bool
may_do_everything(Oid caller)
{
	return superuser_arg(caller) || has_privs_of_role(caller, GetUserId());
}

/*
 * Refuses (42501) a caller without a grant of this kind.  A grant limited to
 * an entity suffices only where the entity is known: named, or that of the
 * account (0: none).  Runs as the owner, connected to SPI.
 */
void
books_authorize(const BooksScope *scope, AccessKind kind, int64 account_id, const char *entity)
{
	bool		allowed;
	bool		isnull;

	if (may_do_everything(scope->saved_user))
		return;
	(void) find_grants(scope->saved_user, kind, account_id, entity, &allowed, &isnull);
	if (!allowed)
		refuse_caller(scope->saved_user);
}

/*
 * For calls that tell of all entities: the ones that the caller may see, as
 * text[] in the current context, or null (*all) for all of them.  Refuses
 * (42501) a caller without any grant of this kind.
 */
Datum
books_entities(const BooksScope *scope, AccessKind kind, bool *all)
{
	Datum		entities;
	bool		isnull;

	*all = true;
	if (may_do_everything(scope->saved_user))
		return (Datum) 0;
	entities = find_grants(scope->saved_user, kind, 0, NULL, all, &isnull);
	if (*all)
		return (Datum) 0;
	if (isnull)
		refuse_caller(scope->saved_user);
	return datumCopy(entities, false, -1);
}

/*
 * gate.h
 *		The door between callers and the books: rights, identity, owner.
 */
#ifndef BILLING_GATE_H
#define BILLING_GATE_H

#include "datatype/timestamp.h"
#include "fmgr.h"

/* Each kind includes those before it (billing.access.kind). */
typedef enum AccessKind
{
	ACCESS_READER,
	ACCESS_APPLICATION,
	ACCESS_OPERATOR,
	ACCESS_ADMINISTRATOR
} AccessKind;

/* What books_leave needs to undo books_enter. */
typedef struct BooksScope
{
	Oid			saved_user;
	int			saved_security;
	int			guc_level;
} BooksScope;

extern Oid	books_owner(void);
extern char *books_extension_version(void);
extern void books_check(bool must_be_adopted);
extern void books_check_at(TimestampTz at);
extern void books_become_owner(BooksScope *scope);
extern void books_leave(BooksScope *scope);
extern void books_authorize(const BooksScope *scope, AccessKind kind, int64 account_id,
							const char *entity);
extern Datum books_entities(const BooksScope *scope, AccessKind kind, bool *all);
extern void books_lock_search_path(BooksScope *scope);

#endif							/* BILLING_GATE_H */

/*
 * billing.c
 *		Entry point of the library: magic and settings; nothing else.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "billing.h"
#include "compat.h"

PG_MODULE_MAGIC;

bool		billing_enabled = true;
int			billing_max_future = 24 * 60;
int			billing_seal_timeout = 10000;

void		_PG_init(void);

void
_PG_init(void)
{
	DefineCustomBoolVariable("billing.enabled",
							 "Allows runs to bill.",
							 "Off in a physical copy of the books (a snapshot, a base backup) that must not bill: "
							 "such a copy cannot be told from a fail-over by itself.",
							 &billing_enabled, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.max_future",
							"How far ahead of the clock a run may bill.",
							"A run or bill_account with a later at is refused, since its documents would carry "
							"dates that have not come, and those of a series never go back. Tests and "
							"demonstrations raise it.",
							&billing_max_future, 24 * 60, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("billing.seal_timeout",
							"How long a run waits for a number series.",
							"When another transaction holds the series longer, the run rolls its batch back and "
							"tries it again.",
							&billing_seal_timeout, 10000, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("billing");
}

/*
 * kind.c
 *		Names of the kinds of charges, as tables hold them.
 */
#include "postgres.h"

#include "charge/timeline.h"

static const char *const names[] = {
	[KIND_RECURRING] = "recurring",
	[KIND_USAGE] = "usage",
	[KIND_INSTALMENT] = "instalment",
	[KIND_ONE_OFF] = "one_off",
	[KIND_SETUP] = "setup",
	[KIND_EVENT] = "event",
	[KIND_MINIMUM] = "minimum"
};

const char *
kind_name(ChargeKind kind)
{
	return names[kind];
}

/* The kind of a name that a table's CHECK allows. */
ChargeKind
kind_named(const char *name)
{
	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (ChargeKind) i;
	elog(ERROR, "unknown kind of charge \"%s\"", name);
}

/*
 * argument.h
 *		Arguments of functions that are not STRICT because null is an error.
 */
#ifndef BILLING_ARGUMENT_H
#define BILLING_ARGUMENT_H

#include "fmgr.h"

/* Raises null_value_not_allowed when the argument is null. */
static inline void
argument_not_null(FunctionCallInfo fcinfo, int position, const char *name)
{
	if (PG_ARGISNULL(position))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

#endif							/* BILLING_ARGUMENT_H */

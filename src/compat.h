/*
 * compat.h
 *		Differences between PostgreSQL 14 and 18, as the newest signatures.
 *
 * The only file that may ask for the server's version.
 */
#ifndef BILLING_COMPAT_H
#define BILLING_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "billing compiles on PostgreSQL 14 to 18"
#endif

#include "funcapi.h"

/* d952373a987 (16): varlena's macros left postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 3691edfab97 (18): pg_noreturn stands first, as C11's keyword has to */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 9e98583898c (15): SetSingleFuncCall, renamed InitMaterializedSRF by a19e5cee635 */
#if PG_VERSION_NUM < 150000
#include "miscadmin.h"
#include "utils/tuplestore.h"

#define MAT_SRF_USE_EXPECTED_DESC 0x01

static inline void
InitMaterializedSRF(FunctionCallInfo fcinfo, bits32 flags)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (flags & MAT_SRF_USE_EXPECTED_DESC)
		desc = CreateTupleDescCopy(rsinfo->expectedDesc);
	else if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(false, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(old);
}
#endif

/* b69aba74578 (15): the reason why a digest could not be computed */
#if PG_VERSION_NUM < 150000
#define pg_cryptohash_error(ctx) "unknown error"
#endif

/* 88103567cb8, 5609cc01c69 (15): a prefix is reserved, and the function named after that */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* d35a1af4681 (16): range_in reports errors softly, its helpers take an escontext */
#if PG_VERSION_NUM < 160000
#include "utils/rangetypes.h"
#define make_range(typcache, lower, upper, empty, escontext) \
	make_range(typcache, lower, upper, empty)
#endif

/* 3d51cb5197e (16): the newer name of a function of the statistics views */
#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(index) pgstat_fetch_stat_local_beentry(index)
#endif

/* 4f2400cb3f1 (15): memory is asked for in a hook, no longer while libraries are loaded */
#if PG_VERSION_NUM >= 150000
#define request_shmem_by(hook, previous) \
	((previous) = shmem_request_hook, shmem_request_hook = (hook))
#else
typedef void (*shmem_request_hook_type) (void);
#define request_shmem_by(hook, previous) ((previous) = NULL, (hook) ())
#endif

/* 791b1b71da3 (15): the function of fixed parameter types is named after them */
#if PG_VERSION_NUM < 150000
#define pg_analyze_and_rewrite_fixedparams(tree, text, types, count, env) \
	pg_analyze_and_rewrite(tree, text, types, count, env)
#endif

/* c727f511bd7 (16): one function checks the privileges of all kinds of objects, here of functions */
#if PG_VERSION_NUM < 160000
#define object_aclcheck(class_id, object, role, mode) pg_proc_aclcheck(object, role, mode)
#endif

/* 3057465acfb (16): the settings, and how many there are, from one function */
#if PG_VERSION_NUM < 160000
#define get_guc_variables(num_vars) (*(num_vars) = GetNumConfigOptions(), (get_guc_variables) ())
#endif

/* c9af0546934 (17): waits of extensions have names */
#if PG_VERSION_NUM < 170000
#define WaitEventExtensionNew(name) PG_WAIT_EXTENSION
#endif

/* e7689190b3d (17): a background worker may connect as a role that cannot log in */
#if PG_VERSION_NUM < 170000
#define BGWORKER_BYPASS_ROLELOGINCHECK 0
#endif

/* 8d33fbacbac (18): a portal is always run once */
#if PG_VERSION_NUM < 180000
#define PortalRun(portal, count, top_level, dest, other, completion) \
	PortalRun(portal, count, top_level, true, dest, other, completion)
#endif

#endif							/* BILLING_COMPAT_H */

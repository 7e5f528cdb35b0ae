/*
 * driver.c
 *		Runs libFuzzer inside a server's process, and what targets use.
 *
 * The fuzzer ends the process: with status 0 when its time is over, with another
 * at the first input that crashes, trips a sanitizer or breaks a claim.
 */
#include "alloc.h"
#include "fuzz.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/memutils.h"

#define MAX_OPTIONS 32

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(billing_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*target) (const uint8_t *data, size_t size));

Oid			fuzz_reference;

static int	(*target) (const uint8_t *data, size_t size);

/* Aborts, so that the fuzzer keeps the input, unless the claim holds. */
void
fuzz_claim(bool holds, const char *claim)
{
	if (holds)
		return;
	fprintf(stderr, "claim broken: %s\n", claim);
	abort();
}

bool
fuzz_is_among(int sqlstate, const int *expected, int count)
{
	for (int i = 0; i < count; i++)
		if (expected[i] == sqlstate)
			return true;
	return false;
}

/* The result of a computation, or NULL and the SQLSTATE that it raised; 0: none. */
Numeric
fuzz_attempt(FuzzComputation compute, void *argument, int *sqlstate)
{
	MemoryContext context = CurrentMemoryContext;
	Numeric		volatile result = NULL;

	*sqlstate = 0;
	PG_TRY();
	{
		result = compute(argument);
	}
	PG_CATCH();
	{
		*sqlstate = geterrcode();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

/* One input, in a memory context of its own. */
static int
run_target(const uint8_t *data, size_t size)
{
	static MemoryContext context = NULL;
	MemoryContext old;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "fuzz input", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	target(data, size);
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	fuzz_free_all();
	return 0;
}

/* billing_fuzz(target text, options text, reference oid): options are the fuzzer's, by white space */
Datum
billing_fuzz(PG_FUNCTION_ARGS)
{
	char	   *options[MAX_OPTIONS] = {text_to_cstring(PG_GETARG_TEXT_PP(0))};
	char	  **argv = options;
	int			argc = 1;

	if (strcmp(options[0], "scheme") == 0)
		target = fuzz_scheme;
	else if (strcmp(options[0], "timeline") == 0)
		target = fuzz_timeline;
	else
		elog(ERROR, "no fuzz target \"%s\"", options[0]);
	for (char *option = strtok(text_to_cstring(PG_GETARG_TEXT_PP(1)), " \n\t");
		 option != NULL && argc < MAX_OPTIONS - 1; option = strtok(NULL, " \n\t"))
		options[argc++] = option;
	fuzz_reference = PG_GETARG_OID(2);
	LLVMFuzzerRunDriver(&argc, &argv, run_target);
	PG_RETURN_VOID();
}

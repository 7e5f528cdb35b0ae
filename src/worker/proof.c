/*
 * proof.c
 *		That a job was scheduled by its owner.
 *
 * A job runs with the rights of the role in column owner.  The table belongs to
 * the owner of the books, who could write any role there.  So the calls that
 * check who calls leave a digest that only the server can make: its key is the
 * secret of the cluster that no SQL function shows.  A job without it runs only
 * where it gives the owner of the books nothing that he has not.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "lib/hash.h"
#include "worker/job.h"

#define SECRET_LENGTH 32		/* MOCK_AUTH_NONCE_LEN */

/* Digest of the secret and a text, twice, so that no longer text can be proved from it. */
static char *
keyed_digest(const char *text)
{
	char	   *secret = GetMockAuthenticationNonce();
	StringInfoData inner;
	StringInfoData outer;

	initStringInfo(&inner);
	appendBinaryStringInfo(&inner, secret, SECRET_LENGTH);
	appendStringInfoString(&inner, text);
	initStringInfo(&outer);
	appendBinaryStringInfo(&outer, secret, SECRET_LENGTH);
	appendStringInfoString(&outer, hash_hex(inner.data, inner.len));
	return hash_hex(outer.data, outer.len);
}

/* The proof for a job; palloc'd. */
char *
job_proof(const char *name, const char *owner, const char *procedure, const char *arguments)
{
	const char *parts[] = {name, owner, procedure, arguments};
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "billing job %u", MyDatabaseId);
	for (int i = 0; i < (int) lengthof(parts); i++)
		appendStringInfo(&text, " %zu:%s", strlen(parts[i]), parts[i]);
	return keyed_digest(text.data);
}

/* Refuses what its owner did not schedule, unless the owner of the books has that role's rights. */
void
job_check_proof(const Job *job)
{
	Oid			books = books_owner();

	if (has_privs_of_role(books, get_role_oid(job->owner, false)))
		return;
	if (job->proof != NULL &&
		strcmp(job->proof, job_proof(job->name, job->owner, job->procedure, job->arguments)) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("job \"%s\" is not as role \"%s\" scheduled it", job->name, job->owner),
			 errdetail("The table was changed by hand, or restored from elsewhere."),
			 errhint("Look at the job, then confirm it as that role with billing.alter_job().")));
}

/*
 * job.h
 *		Jobs: when, what and as whom; claiming and finishing them.
 */
#ifndef BILLING_WORKER_JOB_H
#define BILLING_WORKER_JOB_H

#include "datatype/timestamp.h"
#include "lib/gate.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* A row of table job, as far as running it goes. */
typedef struct Job
{
	char	   *name;
	char	   *owner;
	char	   *procedure;		/* qualified, with argument types where the name alone is not
								 * unique */
	char	   *arguments;		/* jsonb as text */
	char	   *proof;			/* that the owner scheduled it */
	int64		run_no;
	int			pid;			/* process that claimed it */
	TimestampTz started_at;
	TimestampTz planned_at;		/* for which it runs; 0: run by hand before that */
} Job;

/* The statement that runs a job, with its parameters. */
typedef struct JobCall
{
	Oid			function;
	bool		is_procedure;
	char	   *text;
	int			nargs;
	Oid		   *argtypes;
	ParamListInfo params;
} JobCall;

/* plan.c */
extern void job_check_interval(const Interval *every);
extern TimestampTz job_instant(TimestampTz first_start, const Interval *every, const char *time_zone,
							   TimestampTz at);

/* call.c */
extern Jsonb *job_arguments(const Job *job);
extern Oid	job_procedure(const char *procedure);
extern char *job_procedure_name(Oid function);
extern JobCall *job_call(const char *procedure, Jsonb *arguments, TimestampTz at);
extern List *job_call_analyze(const JobCall *call);

/* claim.c */
extern void job_open(BooksScope *scope);
extern void job_commit(BooksScope *scope);
extern bool job_claim(Job *job, TimestampTz now, bool by_hand);
extern void job_finish(const Job *job, const char *status, const ErrorData *error);
extern void job_finish_interrupted(void);

/* proof.c */
extern char *job_proof(const char *name, const char *owner, const char *procedure, const char *arguments);
extern void job_check_proof(const Job *job);

#endif							/* BILLING_WORKER_JOB_H */

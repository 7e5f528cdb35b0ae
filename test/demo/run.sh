#!/bin/sh
# Three months of a small internet provider, from an empty database: sell, measure, bill every
# morning, show what came out, and let the server go on by itself.  The SQL files beside this one are
# the whole of it, in the order in which they run here; `make demo` makes a server to run it on.
set -eu

demo=$(dirname "$0")
PGOPTIONS='-c client_min_messages=warning'
export PGOPTIONS

# Quiet psql that stops at the first error.
run_psql() {
	psql -X -q -v ON_ERROR_STOP=1 "$@"
}

# Everything after the set-up is done by a role that owns nothing.
as_clerk() {
	run_psql --username=clerk "$@"
}

# One run per day, as cron would start it; a mark per day on standard error.
# usage: bill_month NAME NUMBER DAYS
bill_month() {
	{
		printf "\\\\warn -n '  %-9s '\\n" "$1"
		for day in $(seq "$3"); do
			printf "CALL billing.bill_run(at => '2026-%02d-%02d 06:00 Europe/Berlin');\n" "$2" "$day"
			printf '\\warn -n ▪\n'
		done
		printf "SELECT sum(documents) AS documents FROM billing.run WHERE extract(month FROM at AT TIME ZONE 'Europe/Berlin') = %d \\gset\n" "$2"
		printf '\\warn \047\047 :documents documents\n'
	} | as_clerk
}

echo 'Sundglas Internet, a small provider that opens on 1 January 2026'
echo
run_psql -o /dev/null -f "$demo/install.sql"
run_psql -o /dev/null -f "$demo/catalog.sql"
as_clerk -At -f "$demo/customers.sql"
echo
echo 'Bill run every morning at six, as a role that owns no table'
bill_month January 1 31
as_clerk -At -f "$demo/changes.sql"
bill_month February 2 28
bill_month March 3 31
as_clerk -f "$demo/summary.sql"
as_clerk -At -f "$demo/invoice.sql"
as_clerk -f "$demo/change.sql"
as_clerk -f "$demo/revenue.sql"
as_clerk -f "$demo/job.sql"
echo '`make demo-psql` does the same and leaves you in psql on it: try  TABLE billing.invoice LIMIT 5;'

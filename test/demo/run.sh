#!/bin/sh
# Three months of a small internet provider, from an empty database: sell, measure, every day bill,
# collect and remind, show what came out, and let the server go on by itself.  The SQL files beside this one are
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

# The days of a month (day.sql), with a mark for each on standard error.
# usage: month NAME NUMBER DAYS
month() {
	{
		printf "\\\\warn -n '  %-9s '\\n" "$1"
		for day in $(seq "$3"); do
			printf "\\\\set day '2026-%02d-%02d'\\n\\\\i %s/day.sql\\n" "$2" "$day" "$demo"
			printf '\\warn -n ▪\n'
		done
		printf "\\\\set month '2026-%02d-01'\\n\\\\i %s/month.sql\\n" "$2" "$demo"
	} | as_clerk
}

echo 'Sundglas Internet, a small provider that opens on 1 January 2026'
echo
run_psql -o /dev/null -f "$demo/install.sql"
run_psql -o /dev/null -f "$demo/catalog.sql"
run_psql -o /dev/null -f "$demo/receivables.sql"
as_clerk -At -f "$demo/customers.sql"
as_clerk -At -f "$demo/methods.sql"
echo
echo 'Every day bills, collects, takes money in and reminds, as a role that owns no table'
month January 1 31
as_clerk -At -f "$demo/changes.sql"
month February 2 28
month March 3 31
as_clerk -f "$demo/summary.sql"
as_clerk -At -f "$demo/invoice.sql"
as_clerk -f "$demo/change.sql"
as_clerk -f "$demo/revenue.sql"
as_clerk -f "$demo/money.sql"
as_clerk -At -f "$demo/reminder.sql"
as_clerk -f "$demo/ledger.sql"
as_clerk -f "$demo/job.sql"
echo '`make demo-psql` does the same and leaves you in psql on it: try  TABLE billing.invoice LIMIT 5;'

# Sums the durations that auto_explain reports, by what the statements do.
/^(.*NOTICE: *)duration: / {
	sub(/.*duration: /, "")
	milliseconds = $1
	getline statement
	sub(/^Query Text: /, "", statement)
	kind = "run's own tables"
	if (statement ~ /billing\.(invoice_|charge|seal|event)/ && statement ~ /^INSERT/)
		kind = "insert documents"
	else if (statement ~ /^UPDATE billing.account_state/)
		kind = "update account_state"
	else if (statement ~ /FOR NO KEY UPDATE/ && statement ~ /billing.account_state/)
		kind = "lock accounts"
	else if (statement ~ /^SELECT/ && statement ~ /LATERAL|ANY|s.account_id FROM billing.account_state/)
		kind = "read timelines"
	sum[kind] += milliseconds
	all += milliseconds
}
/^Time: / { total = $2 }
END {
	print "where the time goes, of one more run:"
	for (kind in sum)
		printf "  %-40s %5.1f %%\n", kind, 100 * sum[kind] / total
	printf "  %-40s %5.1f %%\n", "compute, rows, forms, hashes, commits", 100 * (total - all) / total
}

# Copies the books' DDL and turns the remarks beside columns into COMMENT ON statements, so that a
# column and its meaning are written in one place:
#
#   CREATE TABLE IF NOT EXISTS billing.x ( -- what a row is
#       id bigint NOT NULL, -- what the column holds
#   );
#   CREATE OR REPLACE VIEW billing.y ( -- what the view shows
#       id, -- what the column shows
#   ) AS ...
function quoted(text) { gsub(/'/, "''", text); return "'" text "'" }
{ print }
/^CREATE (TABLE IF NOT EXISTS|OR REPLACE VIEW) billing\.[a-z_]+ \( -- / {
    kind = ($2 == "TABLE") ? "TABLE" : "VIEW"
    match($0, /billing\.[a-z_]+/); relation = substr($0, RSTART, RLENGTH)
    text = $0; sub(/^.*\( -- /, "", text)
    comments = "COMMENT ON " kind " " relation " IS " quoted(text) ";\n"
    inside = 1
    next
}
inside && /^    [a-z_0-9]+[ ,].* -- |^    [a-z_0-9]+,? -- / {
    column = $1; sub(/,$/, "", column)
    text = $0; sub(/^.* -- /, "", text)
    comments = comments "COMMENT ON COLUMN " relation "." column " IS " quoted(text) ";\n"
}
inside && /^\)/ { inside = 0 }
!inside && comments != "" && /;$/ { printf "%s", comments; comments = "" }

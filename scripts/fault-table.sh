#!/bin/sh
# Makes the guide's table of faults from what the fault suite saw:
#
#   FLUSTER_FAULT_REPORT=$PWD/target/faults.tsv make soak
#   scripts/fault-table.sh target/faults.tsv > src/guide/fault-table.md
#
# A scenario that ran several times (RESP2 and RESP3, three ways to shut down) is one row: the last.
set -eu
[ $# -eq 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
printf '| scenario | calls | what the application saw | for how long | longest call | what came back |\n'
printf '|---|---:|---|---:|---:|---|\n'
awk -F '\t' 'NF == 7 { line[$1 FS $2] = $0 } END { for (i in line) print line[i] }' "$1" |
    sort -t "$(printf '\t')" -k 1,1n -k 2,2 |
    awk -F '\t' '{ gsub(/_/, " ", $2); printf "| %s %s | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, $6, $7 }'

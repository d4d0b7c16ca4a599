#!/bin/sh
# Instructions per call of the hot paths, counted by callgrind; with BASE=FILE beside those of an
# earlier run, which wrote FILE. The counts are repeatable for one binary on one machine, and are no
# times: use them to compare two builds. A change of more than LIMIT (5) percent fails; of what talks to
# a server four times that, since how often it is woken is the kernel's choice.
set -eu
cd "$(dirname "$0")/.."
out=${OUT:-${FLUSTER_BENCH_DIR:-target/bench}/instructions.tsv}
limit=${LIMIT:-5}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/peers}"

if ! command -v valgrind >/dev/null 2>&1; then
    echo "error: valgrind is missing: install it (apt-get install valgrind) and try again" >&2
    exit 1
fi
${CARGO:-cargo} build --quiet --release --manifest-path benches/peers/Cargo.toml --bin hot
hot=$CARGO_TARGET_DIR/release/hot

# Instructions of a run; the servers that it starts are not traced.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$hot" "$1" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}

mkdir -p "$(dirname "$out")"
"$hot" | while IFS= read -r path; do
    case $path in
        run* | *alone) few=1000 many=3000 ;;
        change* | *"10 000"* | *packets | *MB) few=10 many=30 ;;
        *) few=10000 many=30000 ;;
    esac
    # The difference: what starting and ending cost is in both.
    a=$(count "$path" $few)
    b=$(count "$path" $many)
    printf '%s\t%d\n' "$path" $(((b - a) / (many - few)))
done >"$out.new"
mv "$out.new" "$out"

awk -F '\t' -v base="${BASE:-}" -v limit="$limit" '
    BEGIN {
        while (base != "" && (getline line < base) > 0) { split(line, part, "\t"); old[part[1]] = part[2] }
        printf "%-32s %12s", "instructions per call", "now"
        if (base != "") printf " %12s %8s", "before", "change"
        print ""
    }
    {
        printf "%-32s %12d", $1, $2
        if ($1 in old) {
            change = 100 * ($2 - old[$1]) / old[$1]
            printf " %12d %+7.1f%%", old[$1], change
            most = $1 ~ /^run|alone$/ ? 4 * limit : limit
            if (change > most) { printf "  <- more than %s %%", most; worse = 1 }
        }
        print ""
    }
    END { exit worse }' "$out"

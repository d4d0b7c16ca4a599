#!/usr/bin/env bash
# Runs tests, and ends them when they take longer than they may: `watched.sh MINUTES COMMAND..`.
# A test that waits for ever says nothing else but that the whole run was cut off, and not by whom; here the
# last lines name the tests that did not end.
set -uo pipefail

minutes=$1
shift
log=$(mktemp)
exec 3> >(exec tee "$log")
tee=$!
# A process group of its own, which ends whole.
set -m
"$@" >&3 2>&1 &
run=$!
set +m
exec 3>&-
trap 'kill -TERM -- "-$run" 2>/dev/null' INT TERM

# What was said is said before this ends, though a server that was left behind may hold the pipe.
finish() {
    for _ in {1..50}; do
        kill -0 "$tee" 2>/dev/null || break
        sleep 0.1
    done
    rm -f "$log"
    exit "$1"
}

until=$((SECONDS + minutes * 60))
while kill -0 "$run" 2>/dev/null && ((SECONDS < until)); do
    sleep 0.5
done
if ((SECONDS < until)); then
    wait "$run"
    finish $?
fi

{
    echo "error: still running after $minutes minutes. These tests ran for long and did not end:"
    # libtest says after a minute that a test takes long, and in a line of its own how it ended.
    sed -n 's/^test \(.*\) has been running for over .*/\1/p' "$log" | sort -u | while read -r name; do
        grep -qF "test $name ... " "$log" || echo "  $name"
    done
} >&2
kill -TERM -- "-$run" 2>/dev/null
sleep 2
kill -KILL -- "-$run" 2>/dev/null
finish 124

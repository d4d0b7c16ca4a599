#!/usr/bin/env bash
# Proves that the tests of the failover rules would notice a broken rule: each patch here breaks
# one, and the tests named in its first line must fail: unit tests by their names, or those of the
# integration tests' binary after `--test it`, as in
#
#   # must be caught by: verdict::tests::a_refusal
#   # must be caught by: --test it faults::process::kill9_node
#
#   tests/mutants/run.sh              all of them
#   tests/mutants/run.sh soft_cap_off demand_ignored
#
# Works on a copy; set MUTANTS_TARGET_DIR to keep the build between runs. Exits with 1 when a
# mutant survives, does not apply or does not compile.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

export CARGO_TARGET_DIR=${MUTANTS_TARGET_DIR:-$work/target}
export RUSTFLAGS=${RUSTFLAGS---cap-lints=warn}
# A mutant may loop for ever; that is noticed, too.
limit=${MUTANTS_TIMEOUT:-300}

mkdir "$work/tree" || exit 1
# With new times (-m): cargo takes a kept build of a mutant for newer than the sources else.
(cd "$root" && tar --exclude=./target --exclude=./.git -cf - .) | tar -xmf - -C "$work/tree" || exit 1
cd "$work/tree" || exit 1
# Failing seeds of a mutant are of no use to anybody.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
# One file differs from one build to the next, and nobody debugs them.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=false

if [ $# -gt 0 ]; then
    patches=$(printf "$here/%s.patch\n" "$@")
else
    # Those of the library first: the builds that follow each other are alike.
    patches=$(grep -L '^# must be caught by: --test it ' "$here"/*.patch)
    patches="$patches $(grep -l '^# must be caught by: --test it ' "$here"/*.patch)"
fi

filter_of() { sed -n '1s/^# must be caught by: //p' "$1"; }

# The modules of the integration tests that those of a filter need: the others are not compiled, which is
# most of the time that a mutant takes.
needed() {
    local todo all=" " module
    todo=$(for test in $1; do echo "${test%%::*}"; done)
    while [ -n "$todo" ]; do
        module=$(echo $todo | cut -d ' ' -f 1)
        todo=$(echo $todo | cut -s -d ' ' -f 2-)
        case $all in *" $module "*) continue ;; esac
        all="$all$module "
        todo="$todo $(grep -rhoE 'crate::[a-z_]+' "tests/$module.rs" "tests/$module" 2>/dev/null |
            sed 's/crate:://' | sort -u)"
    done
    echo "$all"
}

# Leaves of tests/main.rs what a filter needs.
reduce() {
    awk -v needed="$(needed "${1#--test it }")" '
        /^mod [a-z_]+;$/ { name = substr($2, 1, length($2) - 1); if (!index(needed, " " name " ")) next }
        { print }
    ' "$root/tests/main.rs" >tests/main.rs
}

# shellcheck disable=SC2086 # several filters are several words
# `cargo test` for a filter: of the library, or of the integration tests, which need the features.
cargo_test() {
    case $1 in
        "--test it "*) timeout "$limit" cargo test --quiet --all-features --test it -- ${1#--test it } ;;
        *) timeout "$limit" cargo test --quiet --all-features --lib -- $1 ;;
    esac
}

cargo_build() {
    case $1 in
        "--test it "*) cargo test --quiet --all-features --test it --no-run ;;
        *) cargo test --quiet --all-features --lib --no-run ;;
    esac
}

# Runs the tests of a filter: 0 passed, 1 failed, 2 nothing ran.
run_tests() {
    cargo_test "$1" >"$work/log" 2>&1
    local status=$?
    grep -q '^running [1-9]' "$work/log" || return 2
    [ $status -eq 0 ] || return 1
}

# The unchanged sources pass each of them: the unit tests at once, the others too.
filters=$(for patch in $patches; do filter_of "$patch"; done)
units=$(echo "$filters" | grep -v '^--test it ')
others=$(echo "$filters" | sed -n 's/^--test it //p')
for all in "$units" "${others:+--test it $others}"; do
    [ -n "$all" ] || continue
    # shellcheck disable=SC2086 # one line
    # Built before the clock runs.
    if ! cargo_build "$all" >"$work/log" 2>&1 || ! run_tests "$(echo $all)"; then
        tail -n 40 "$work/log"
        echo "the unchanged sources do not pass"
        exit 1
    fi
done

bad=0
count=0
printf '%-40s %s\n' mutant result
for patch in $patches; do
    name=$(basename "$patch" .patch)
    filter=$(filter_of "$patch")
    count=$((count + 1))
    if [ -z "$filter" ]; then
        result="NAMES NO TEST"
    elif ! patch -p1 --quiet --no-backup-if-mismatch --fuzz=0 <"$patch" >"$work/log" 2>&1; then
        # A half applied patch must not meet the next one.
        rm -rf "$work/tree/src" && cp -R "$root/src" "$work/tree/src"
        result="DOES NOT APPLY"
    else
        case $filter in "--test it "*) reduce "$filter" ;; esac
        if ! cargo_build "$filter" >"$work/log" 2>&1; then
            result="DOES NOT COMPILE"
        else
            run_tests "$filter"
            case $? in
                0) result="SURVIVED" ;;
                1) result="caught" ;;
                *) result="NO SUCH TEST" ;;
            esac
        fi
        patch -R -p1 --quiet --no-backup-if-mismatch <"$patch" || exit 1
    fi
    [ "$result" = caught ] || bad=$((bad + 1))
    printf '%-40s %s\n' "$name" "$result"
done
echo "$((count - bad)) of $count mutants caught"
[ "$bad" -eq 0 ]

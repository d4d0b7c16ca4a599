#!/bin/sh
# Checks library and program without features, with each one alone, and with all of them.
# A feature that only compiles beside another one is found here.
set -eu
cd "$(dirname "$0")/.."

features=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9_-]*\) *=.*/\1/p' Cargo.toml | grep -vx default)

check() {
    echo "features: ${1:-none}"
    ${CARGO:-cargo} clippy --quiet --lib --bins --no-default-features --features "$1" -- -D warnings
}

check ""
for feature in $features; do check "$feature"; done
# shellcheck disable=SC2086 # one word per feature
check "$(echo $features | tr ' ' ,)"

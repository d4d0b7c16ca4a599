#!/bin/sh
# Prints the path of an etcd server for the tests: ETCD, one in the PATH, or that of Debian 12,
# unpacked under target/tools.
set -eu
if [ -n "${ETCD:-}" ]; then
    command -v "$ETCD" && exit 0
    echo "ETCD names $ETCD, which is no program" >&2
    exit 1
fi
if command -v etcd; then exit 0; fi
exec "$(dirname "$0")/debian-tool.sh" bookworm etcd-server usr/bin/etcd

#!/bin/sh
# Prints the path of a Consul agent for the tests: CONSUL, one in the PATH, or the last one under the
# MPL that Debian has (1.8.7, of Debian 11), unpacked under target/tools.
set -eu
if [ -n "${CONSUL:-}" ]; then
    command -v "$CONSUL" && exit 0
    echo "CONSUL names $CONSUL, which is no program" >&2
    exit 1
fi
if command -v consul; then exit 0; fi
exec "$(dirname "$0")/debian-tool.sh" bullseye consul usr/bin/consul

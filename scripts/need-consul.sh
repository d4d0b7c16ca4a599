#!/bin/sh
# Prints the path of a Consul agent for the tests: CONSUL, one in the PATH, or the last one under the
# MPL that Debian has (1.8.7, of Debian 11), unpacked under target/tools.
set -eu
if [ -n "${CONSUL:-}" ]; then command -v "$CONSUL"; exit; fi
if command -v consul; then exit 0; fi
exec "$(dirname "$0")/debian-tool.sh" bullseye consul usr/bin/consul

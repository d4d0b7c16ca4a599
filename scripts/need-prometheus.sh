#!/bin/sh
# Prints the path of a Prometheus whose promtool lies beside it: PROMETHEUS, one in the PATH, or that of Debian 12,
# unpacked under target/tools.
set -eu
if [ -n "${PROMETHEUS:-}" ]; then command -v "$PROMETHEUS"; exit; fi
if command -v prometheus; then exit 0; fi
exec "$(dirname "$0")/debian-tool.sh" bookworm prometheus usr/bin/prometheus

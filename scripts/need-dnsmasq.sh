#!/bin/sh
# Prints the path of a dnsmasq for the tests: DNSMASQ, one in the PATH, or it installs that of the
# distribution, in the package that starts no service.
set -eu
have() { command -v "$1" 2>/dev/null || { [ -x "/usr/sbin/$1" ] && echo "/usr/sbin/$1"; }; }
if [ -n "${DNSMASQ:-}" ]; then
    command -v "$DNSMASQ" && exit 0
    echo "DNSMASQ names $DNSMASQ, which is no program" >&2
    exit 1
fi
if have dnsmasq; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "dnsmasq is not here, and installing it needs root and apt-get" >&2
    exit 1
fi
apt-get update -qq >&2 || true # perhaps the lists at hand will do
env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dnsmasq-base >&2
have dnsmasq

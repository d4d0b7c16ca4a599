#!/bin/sh
# Makes sure that there is a redis-server to start; silent when there is.
# REDIS_SERVER=/path/to/another-server is used instead, here and by the tests.
set -eu

server=${REDIS_SERVER:-redis-server}
have() { command -v "$1" >/dev/null 2>&1; }

if have "$server"; then exit 0; fi

give_up() {
    echo "error: $server is missing, and $1." >&2
    echo "Install Redis (https://redis.io/docs/latest/get-started/) so that redis-server is in the PATH," >&2
    echo "or set REDIS_SERVER to the program to start, and try again." >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        give_up "installing it needs root or sudo"
    fi
}

if [ -n "${REDIS_SERVER:-}" ]; then give_up "it was named by REDIS_SERVER"; fi
echo "redis-server is missing: installing it" >&2
if have apt-get; then
    as_root apt-get update -qq || true # perhaps the lists at hand will do
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends redis-server >&2 || give_up "apt-get could not install it"
elif have dnf; then
    # Newer Fedoras have Valkey under Redis's name.
    as_root dnf install -y -q redis >&2 ||
        as_root dnf install -y -q valkey-compat-redis >&2 || give_up "dnf could not install it"
elif have brew; then
    brew install --quiet redis >&2 || give_up "brew could not install it"
else
    give_up "there is none of apt-get, dnf and brew to install it"
fi
have "$server" || give_up "it is not in the PATH after installing"

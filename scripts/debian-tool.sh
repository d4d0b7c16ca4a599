#!/bin/sh
# debian-tool.sh SUITE PACKAGE PROGRAM: prints the path of a program out of a Debian package, which is
# fetched once and unpacked under target/tools. Nothing is installed, no root is needed, no service starts.
#
# The archive is the one that this machine's own apt uses; only the suite may be another one.
set -eu
cd "$(dirname "$0")/.."
suite=$1 package=$2 program=$3
tools=${FLUSTER_TOOLS:-$PWD/target/tools}
root=$tools/$suite-$package

if [ -x "$root/$program" ]; then
    echo "$root/$program"
    exit 0
fi
for needed in apt-get dpkg; do
    if ! command -v "$needed" >/dev/null 2>&1; then
        echo "$package is not here: there is no $needed on this machine to fetch it with" >&2
        exit 1
    fi
done

mkdir -p "$tools"
work=$(mktemp -d "$tools/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"

# The first archive of Debian proper in the machine's sources, in either of their two formats.
archive=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^Debian \(.*\)$/\1/p' | head -n 1)
if [ -z "$archive" ]; then
    archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs: *\([^ ]*\).*$/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*$/\2/p' |
        grep '/debian/*$' | head -n 1)
fi
if [ -z "$archive" ]; then
    echo "$package is not here: this machine's apt knows no archive of Debian to fetch it from" >&2
    exit 1
fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg
signed=
if [ -r "$keys" ]; then signed="[signed-by=$keys] "; fi
echo "deb $signed$archive $suite main" >"$work/sources.list"

# A suite that Debian no longer signs anew has an old signature for ever; of any other one an old
# signature means an old list, which somebody may have kept back.
age=
case $suite in
    bullseye) age="-o Acquire::Check-Valid-Until=false" ;;
esac

# shellcheck disable=SC2086 # one option is two words, none is none
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User= -o Acquire::Languages=none $age \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=10 "$@"
}
echo "fetching $package of Debian $suite" >&2
(cd "$work" && apt update >&2 && apt download "$package" >&2) || {
    echo "$package is not here: apt-get cannot fetch it from Debian $suite" >&2
    exit 1
}
mkdir "$work/root"
dpkg -x "$work/$package"_*.deb "$work/root"
[ -x "$work/root/$program" ] || {
    echo "the package $package of Debian $suite has no $program" >&2
    exit 1
}
# Whoever else fetched it meanwhile was as good.
mv "$work/root" "$root" 2>/dev/null || [ -x "$root/$program" ]
echo "$root/$program"

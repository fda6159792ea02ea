#!/usr/bin/env bash
# The side-by-side benchmarks: benches/run.sh [--quick] [--rounds N] [SECTION ...]
# Sections: http tls capped files startup checksum resume runtimes stores micro picker decode leech seed many check idle; all of
# them where none is named. Those of torrents want up to 4 GiB of memory for their files.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for program in nginx curl aria2c openssl; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("${program/aria2c/aria2}")
done
/usr/bin/python3 -c 'import libtorrent' 2>/dev/null || missing+=(python3-libtorrent)
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}" >&2
    $([ "$(id -u)" = 0 ] || echo sudo) apt-get update -q
    $([ "$(id -u)" = 0 ] || echo sudo) apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

cargo build -q --release -p gosh-dl -p gosh-dl-benches
GOSH_DL=${GOSH_DL:-target/release/gosh-dl} exec target/release/gosh-dl-benches "$@"

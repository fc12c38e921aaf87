#!/bin/sh
# Takes everything down. The database's files stay in $STATE, unless --all is given: then they and
# the images go too.
set -eu
. "$(dirname "$0")/common.sh"

for name in three-tier-front three-tier-back three-tier-database; do
    if $cais inspect "$name" > /dev/null 2>&1; then
        $cais stop "$name" > /dev/null
        $cais rm "$name" > /dev/null
    fi
done
for name in three-tier-outer three-tier-inner; do
    if $cais network inspect "$name" > /dev/null 2>&1; then
        $cais network rm "$name" > /dev/null
    fi
done
if [ "${1:-}" = --all ]; then
    $cais rmi -f three-tier/front three-tier/back three-tier/database > /dev/null
    rm -rf "$state"
fi

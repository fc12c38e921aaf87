#!/bin/sh
# Brings the three containers up. What is there already stays.
set -eu
. "$(dirname "$0")/common.sh"

# Files that outlive the containers. The database's user has the same number in its image as
# here, where the image was made. Nobody but root comes into the directory.
mkdir -p "$state/database"
chmod 700 "$state"
chown postgres: "$state/database"
chmod 700 "$state/database"
if [ ! -s "$state/password" ]; then
    head -c 18 /dev/urandom | base64 > "$state/password.new"
    mv "$state/password.new" "$state/password"
fi

# The front end and the back end meet in one network, the back end and the database in another,
# which leads nowhere else.
$cais network inspect three-tier-outer > /dev/null 2>&1 || $cais network create three-tier-outer > /dev/null
$cais network inspect three-tier-inner > /dev/null 2>&1 || $cais network create --internal three-tier-inner > /dev/null

# What all three have in common: no rights, no writing but where it must be, limits, and they come
# back when they end.
common="-d --restart always --read-only --tmpfs /tmp:size=64m --cap-drop ALL --security-opt no-new-privileges"
secret="-v $state/password:/run/secrets/database-password:ro"

up() {
    name=$1
    shift
    if $cais inspect "$name" > /dev/null 2>&1; then
        $cais start "$name" > /dev/null
    else
        # shellcheck disable=SC2086
        $cais run $common --name "$name" "$@" > /dev/null
    fi
}

# shellcheck disable=SC2086
up three-tier-database --network three-tier-inner:alias=database --memory 256m --cpus 1 --pids-limit 64 --shm-size 64m \
    -v "$state/database:/var/lib/log" $secret three-tier/database
# shellcheck disable=SC2086
up three-tier-back --network three-tier-outer:alias=back --network three-tier-inner --memory 128m --cpus 1 \
    --pids-limit 64 $secret three-tier/back
up three-tier-front --network three-tier-outer --publish "$publish:8080" --memory 64m --cpus 1 --pids-limit 16 \
    three-tier/front

echo "The page is at http://$publish/"

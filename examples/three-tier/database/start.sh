#!/bin/sh
# The database: makes its files where there are none, then serves.
set -eu
place=/var/lib/log
if [ ! -e "$place/data" ]; then
    # What a start that was cut off has left counts for nothing: the files are in place in
    # one step, when they are whole.
    rm -rf "$place/new"
    initdb -D "$place/new" -U log -A scram-sha-256 --locale=C.UTF-8 \
        --pwfile=/run/secrets/database-password > /dev/null
    echo "host all all samenet scram-sha-256" >> "$place/new/pg_hba.conf"
    echo "create database log;" | postgres --single -D "$place/new" postgres > /dev/null
    echo "create table entries (id int generated always as identity primary key, text text not null);" |
        postgres --single -D "$place/new" log > /dev/null
    mv "$place/new" "$place/data"
fi
exec postgres -D "$place/data" -k /tmp -h '*'

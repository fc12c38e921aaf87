#!/bin/sh
# Makes the three images out of programs of this machine (Debian's nginx-light, python3-psycopg2
# and postgresql), each with only what it needs. No network is used.
set -eu
. "$(dirname "$0")/common.sh"

# The front end: nginx, a page, a configuration.
$cais pack -q -t three-tier/front --user www-data --expose 8080 --stop-signal QUIT --no-config \
    --file "$here/front/nginx.conf:/etc/nginx/nginx.conf" --file /etc/nginx/mime.types \
    --file "$here/front/index.html:/srv/www/index.html" \
    /usr/sbin/nginx -- -g 'daemon off;'

# The back end: Python, and of its library what such a program uses.
$cais pack -q -t three-tier/back --user nobody --expose 8000 --env PYTHONDONTWRITEBYTECODE=1 --workdir / \
    --file "$here/back/app.py:/srv/app.py" \
    --trace '/usr/bin/python3 -c "
import http.client, http.server, json, os, signal, socket, sys, threading, traceback, psycopg2
socket.has_dualstack_ipv6()
server = http.server.ThreadingHTTPServer((\"\", 8000), http.server.BaseHTTPRequestHandler)
thread = threading.Thread(target=server.handle_request)
thread.start()
connection = http.client.HTTPConnection(\"127.0.0.1\", 8000)
connection.request(\"GET\", \"/\")
connection.getresponse().read()
thread.join()
try:
    psycopg2.connect(host=\"localhost\", user=\"x\", password=\"x\", connect_timeout=2)
except psycopg2.OperationalError:
    pass
"' \
    /usr/bin/python3 -- /srv/app.py

# The database: PostgreSQL, and what its start needs.
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
$cais pack -q -t three-tier/database --user postgres --expose 5432 --stop-signal INT --workdir / \
    --env LANG=C.UTF-8 --cmd /usr/local/bin/serve --no-config \
    --file "$here/database/start.sh:/usr/local/bin/serve" \
    --trace "set -e; cd /tmp; echo secret > password
        initdb -D new -U log -A scram-sha-256 --locale=C.UTF-8 --pwfile=password > /dev/null
        echo 'create database log;' | postgres --single -D new postgres > /dev/null 2>&1
        mv new data; rm password
        postgres -D data -k /tmp -h '*' > /dev/null 2>&1 & server=\$!
        until PGPASSWORD=secret psql -q -h 127.0.0.1 -U log -c 'create table t (n int)' 2> /dev/null; do :; done
        PGPASSWORD=secret psql -q -h 127.0.0.1 -U log -c 'insert into t values (1)' -c 'table t' > /dev/null
        kill -INT \$server; wait" \
    "$bin/postgres" "$bin/initdb" /bin/sh rm mv

"""The back end: entries of a log over HTTP, kept in PostgreSQL."""

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

DATABASE = os.environ.get("DATABASE_HOST", "database")
PASSWORD_FILE = os.environ.get("PASSWORD_FILE", "/run/secrets/database-password")
LONGEST_BODY = 4096


def connect():
    """A connection to the database, which may be starting just now."""
    with open(PASSWORD_FILE, encoding="utf-8") as file:
        password = file.read().strip()
    # A database that is gone without a word is given up after a few seconds.
    return psycopg2.connect(
        host=DATABASE,
        user="log",
        dbname="log",
        password=password,
        connect_timeout=2,
        tcp_user_timeout=5000,
        keepalives_idle=2,
        keepalives_interval=1,
        keepalives_count=3,
    )


class Log:
    """The entries. One connection, made anew when it breaks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.connection = None

    def run(self, statement, values=()):
        with self.lock:
            # A database that was restarted is found out by the first statement.
            for last in (False, True):
                try:
                    if self.connection is None:
                        self.connection = connect()
                        self.connection.autocommit = True
                    with self.connection.cursor() as cursor:
                        cursor.execute(statement, values)
                        return cursor.fetchall() if cursor.description else []
                except psycopg2.OperationalError:
                    self.connection = None
                    if last:
                        raise

    def read(self):
        rows = self.run("select id, text from entries order by id desc limit 100")
        return [{"id": number, "text": text} for number, text in rows]

    def write(self, text):
        self.run("insert into entries (text) values (%s)", (text,))


LOG = Log()


class Handler(BaseHTTPRequestHandler):
    server_version = "log"
    sys_version = ""

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def guarded(self, work):
        if self.path != "/api/entries":
            return self.answer(404, {"error": "there is nothing here"})
        try:
            return self.answer(200, work())
        except ValueError as error:
            return self.answer(400, {"error": str(error)})
        except (psycopg2.Error, OSError) as error:
            print(f"database: {error}", file=sys.stderr, flush=True)
            return self.answer(503, {"error": "the database does not answer"})

    def do_GET(self):
        self.guarded(LOG.read)

    def do_POST(self):
        self.guarded(self.write)

    def write(self):
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 < length <= LONGEST_BODY:
            raise ValueError(f"a body of 1 to {LONGEST_BODY} bytes is wanted")
        entry = json.loads(self.rfile.read(length))
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise ValueError("a text is wanted")
        LOG.write(text.strip())
        return {}

    def log_message(self, *words):
        """Requests are the front end's to log."""


class Server(ThreadingHTTPServer):
    """Listens on IPv4 and IPv6 at once, where the machine has both."""

    daemon_threads = True
    has_both = socket.has_dualstack_ipv6()
    address_family = socket.AF_INET6 if has_both else socket.AF_INET

    def server_bind(self):
        if self.has_both:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return super().server_bind()


def main():
    server = Server(("", 8000), Handler)
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    server.serve_forever()


if __name__ == "__main__":
    main()

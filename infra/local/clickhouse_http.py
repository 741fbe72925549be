"""ClickHouse's HTTP interface in front of chdb, its engine as a library. For tests on one machine.

What holds:
- A body is read to its end before the engine hears of it, so a slow sender delays nobody and a broken one inserts nothing.
- A request has an engine session to itself. What it set (database, settings) is taken back before the next one gets the session.
- Every parameter that is not the interface's own is a setting of the query, an INSERT's too: `insert_deduplication_token` and
  async inserts reach the engine, and a setting that it does not know is an error.
- Bounded: sessions, body size, body memory (the rest of a body waits in a file).

Left out: replies are never compressed, HTTP sessions (`session_id`), external tables, roles and quotas, TLS, the native protocol,
clusters. One user, `default`, with the password of --password-file.
"""

import argparse
import base64
import contextlib
import email
import email.policy
import hmac
import json
import queue
import re
import signal
import struct
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import lz4.block
import zstandard
from chdb.session import Session

SESSIONS = 8
CHUNK = 1 << 20
BODY_MEMORY = 32 << 20
BODY_MOST = 1 << 30
FRAME_MOST = 128 << 20
DRAIN_MOST = 64 << 20
IDLE_S = 300

# Parameters of the interface; all others are settings.
INTERFACE = {
    "query", "database", "default_format", "compress", "decompress", "user", "password", "quota_key", "role", "query_id",
    "session_id", "session_timeout", "session_check", "wait_end_of_query", "buffer_size", "stacktrace",
    "enable_http_compression", "http_zlib_compression_level",
}  # fmt: skip
# An insert whose rows are in the body. Everything else goes to the engine as it came.
INSERT = re.compile(r"\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*;?\s*\Z", re.I | re.S)
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.I)
STATUS = {"48": 501, "60": 404, "62": 400, "81": 404, "115": 400, "159": 408, "516": 403}


class Refused(Exception):
    """An error of this front, in ClickHouse's words: code and text."""

    def __init__(self, code, text):
        super().__init__(f"Code: {code}. DB::Exception: {text}")


class Engine:
    """A fixed number of sessions on one data folder; they run beside one another."""

    def __init__(self, data):
        self.data = data
        self.idle = queue.Queue()
        for _ in range(SESSIONS):
            self.idle.put(Session(data))

    @contextlib.contextmanager
    def session(self, database, settings):
        try:
            session = self.idle.get(timeout=60)
        except queue.Empty:
            raise Refused(202, f"all {SESSIONS} sessions have been busy for 60 s") from None
        try:
            if database:
                session.query(f"USE {quoted(database, '`')}")
            if settings:
                session.query("SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items()))
            yield session
        finally:
            self.idle.put(self.cleaned(session, database, settings))

    def cleaned(self, session, database, settings):
        try:
            if database:
                session.query("USE default")
            for name in settings:
                with contextlib.suppress(RuntimeError):  # one that the engine never knew
                    session.query(f"SET {name} = DEFAULT")
            return session
        except Exception:
            with contextlib.suppress(Exception):
                session.close()
            return Session(self.data)

    def close(self):
        until = time.monotonic() + 10
        for _ in range(SESSIONS):
            with contextlib.suppress(queue.Empty):
                self.idle.get(timeout=max(0.0, until - time.monotonic())).close()


def quoted(text, mark="'"):
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def unframed(chunks):
    """ClickHouse's compressed frames: 16 bytes of checksum, the method, two little-endian sizes (the first counts these nine bytes)."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 25:
            method, packed, plain = struct.unpack_from("<BII", buffer, 16)
            if packed < 9 or packed > FRAME_MOST or plain > FRAME_MOST:
                raise Refused(271, f"a compressed frame of {packed} bytes for {plain}")
            if len(buffer) < 16 + packed:
                break
            data = bytes(buffer[25 : 16 + packed])
            del buffer[: 16 + packed]
            if method == 0x82:
                yield lz4.block.decompress(data, uncompressed_size=plain)
            elif method == 0x90:
                yield zstandard.ZstdDecompressor().decompress(data, max_output_size=plain)
            elif method == 0x02:
                yield data
            else:
                raise Refused(89, f"unknown compression method 0x{method:02x}")
    if buffer:
        raise Refused(271, "the last compressed frame is cut off")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = IDLE_S

    def log_message(self, *_):
        """Errors are answered; a line per request would only fill the disk."""

    def do_GET(self):
        self.handle_request()

    def do_POST(self):
        self.handle_request()

    def handle_request(self):
        url = urlsplit(self.path)
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/ping" or (self.command == "GET" and url.path == "/" and "query" not in params):
            return self.reply(200, b"Ok.\n")
        self.unread, self.wire = True, self.chunks()
        with tempfile.SpooledTemporaryFile(max_size=BODY_MEMORY) as body:
            try:
                self.check_user(params)
                self.read_body(params, body)
                self.answer(params, body)
            except (ConnectionError, TimeoutError):
                self.close_connection = True
            except Exception as error:
                self.drain()
                self.reply_error(error)

    def check_user(self, params):
        user = self.headers.get("X-ClickHouse-User") or params.get("user", "")
        password = self.headers.get("X-ClickHouse-Key") or params.get("password", "")
        kind, _, basic = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            user, _, password = base64.b64decode(basic).decode().partition(":")
        if (user or "default") != "default" or not hmac.compare_digest(password.encode(), self.server.password.encode()):
            raise Refused(516, "default: Authentication failed: password is incorrect, or there is no user with such name.")

    def read_body(self, params, body):
        """The rows (or the query) into `body`; a form's fields into `params`."""
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(48, "Content-Encoding is not supported by this front; decompress=1 with ClickHouse's frames is")
        chunks = self.wire
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            head = b"Content-Type: " + kind.encode() + b"\r\n\r\n"
            form = email.message_from_bytes(head + b"".join(chunks), policy=email.policy.HTTP)
            for part in form.iter_parts():
                params[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True).decode()
            return
        if params.get("decompress") == "1":
            chunks = unframed(chunks)
        for chunk in chunks:
            body.write(chunk)
            if body.tell() > BODY_MOST:
                raise Refused(307, f"a body of more than {BODY_MOST >> 20} MiB")

    def drain(self):
        """Takes the rest of a refused body: a sender that is cut off in the middle would never see the reason."""
        left = DRAIN_MOST
        with contextlib.suppress(Exception):
            for chunk in self.wire:
                left -= len(chunk)
                if left < 0:
                    return

    def chunks(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline(100).split(b";")[0], 16):
                yield self.read_exactly(size)
                self.rfile.readline(100)
            while self.rfile.readline(CHUNK) not in (b"\r\n", b"\n", b""):
                pass
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                chunk = self.read_exactly(min(left, CHUNK))
                left -= len(chunk)
                yield chunk
        self.unread = False

    def read_exactly(self, size):
        if size > BODY_MOST:
            raise Refused(307, f"a chunk of more than {BODY_MOST >> 20} MiB")
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionResetError("the sender went away in the middle of the body")
        return data

    def answer(self, params, body):
        if params.get("session_id"):
            raise Refused(48, "HTTP sessions are not supported by this front")
        settings = {k: v for k, v in params.items() if k not in INTERFACE and not k.startswith("param_")}
        for name in settings:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise Refused(115, f"Unknown setting '{name}'")
        values = {k[6:]: v for k, v in params.items() if k.startswith("param_")} or None
        sql = params.get("query", "")
        began = time.monotonic()
        with self.server.engine.session(params.get("database"), settings) as session:
            if insert := INSERT.match(sql):
                result, data, extra = self.insert(session, *insert.groups(), body), b"", {}
                counts = {"written_rows": str(result.rows_written)}
            else:
                body.seek(0)
                sql = "\n".join(text for text in (sql, body.read().decode()) if text)
                named = FORMAT.search(sql)
                kind = named.group(1) if named else params.get("default_format", "TabSeparated")
                result = session.query(sql, kind, params=values)
                data, extra = result.bytes() or b"", {"X-ClickHouse-Format": kind}
                counts = {"read_rows": str(result.rows_read())}
        counts["elapsed_ns"] = str(int((time.monotonic() - began) * 1e9))
        self.reply(200, data, {**extra, "X-ClickHouse-Summary": json.dumps(counts)})

    def insert(self, session, statement, kind, body):
        body.seek(0)
        insert = session.send_insert(statement, kind)
        try:
            while chunk := body.read(CHUNK):
                insert.append(chunk)
            return insert.finish()
        except BaseException:
            with contextlib.suppress(Exception):
                insert.cancel()
            raise

    def reply(self, status, data, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 200 and self.unread:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def reply_error(self, error):
        # chdb says where it failed before it says what; clients look for the code first.
        text = re.sub(r"^.*?(?=Code: \d+\. )", "", str(error), count=1, flags=re.S)
        found = re.match(r"Code: (\d+)", text)
        code = found.group(1) if found else "1002"
        with contextlib.suppress(ConnectionError, TimeoutError):
            self.reply(STATUS.get(code, 500), (text + "\n").encode(), {"X-ClickHouse-Exception-Code": code})

    # The request's body, and whether a part of it is still to come: then the connection cannot serve another request.
    wire, unread = iter(()), False


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", required=True)
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--password-file", type=Path, required=True)
    args = args.parse_args()

    server = Server(("127.0.0.1", args.port), Handler)
    server.engine = Engine(args.data)
    server.password = args.password_file.read_text().strip()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on 127.0.0.1:{args.port}", file=sys.stderr, flush=True)
    server.serve_forever()
    server.engine.close()


if __name__ == "__main__":
    main()

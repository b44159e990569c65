"""A server that stands in for `venice-batch view`: it serves a folder's page, and does what a test says."""

import json
import mimetypes
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "token"


class LiveDouble:
    """Serves `page`'s folder below `/token/`, each request in a thread and on a connection of its own.

    `posts` holds the marks that came; the answer to each is `status`, once nothing holds it. `events` are sent to
    every page that asks; `resumed` holds the first event that each of them wanted.
    """

    def __init__(self, page):
        self.root = page.parent
        self.html = page.read_text().replace("<body>", '<body data-live="1">').replace(
            "base-uri", "connect-src 'self'; base-uri"
        )  # fmt: skip
        self.posts, self.resumed, self.status, self.error = [], [], 204, ""
        self.port = 0
        self.events = []
        self.is_holding = self.is_ending = False
        self.changed = threading.Condition()  # of these three

    def __enter__(self):
        self.come_back()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def send(self, name, value):
        """Send an event to all pages, those to come too."""
        with self.changed:
            self.events.append((name, value))
            self.changed.notify_all()

    def hold(self):
        """Answer no marks until `release`."""
        self.is_holding = True

    def release(self):
        with self.changed:
            self.is_holding = False
            self.changed.notify_all()

    def come_back(self):
        """Serve, on the same port as before `stop`."""
        self.is_ending = False
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.double = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self):
        """Go away, as when the command ends."""
        if self._server is None:
            return
        with self.changed:
            self.is_ending = True
            self.changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()  # waits for the threads of all connections
        self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address, handler):
        super().__init__(address, handler)
        self._connections = []

    def process_request(self, request, client_address):
        self._connections.append(request)
        super().process_request(request, client_address)

    def end_connections(self):
        """End those too on which a browser has not asked for anything yet; it opens some in advance."""
        for connection in self._connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Say nothing of a browser that has gone away."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        """Write no log."""

    def do_GET(self):
        double = self.server.double
        path = unquote(urlsplit(self.path).path).removeprefix(f"/{TOKEN}/")
        if path == "events":
            self._stream(double)
        elif path == "":
            self._answer(200, "text/html; charset=utf-8", double.html.encode())
        elif (file := double.root / path).is_file():
            self._answer(200, mimetypes.guess_type(file)[0] or "application/octet-stream", file.read_bytes())
        else:
            self._answer(404, "text/plain", b"not found")

    def do_POST(self):
        double = self.server.double
        marks = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with double.changed:
            double.changed.wait_for(lambda: double.is_ending or not double.is_holding)
            if double.is_ending:
                return
        double.posts.append(marks)
        error = b"" if double.status == 204 else json.dumps({"error": double.error}).encode()
        self._answer(double.status, "application/json", error)

    def _answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, double):
        position = int(self.headers.get("Last-Event-ID", -1)) + 1
        double.resumed.append(position)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"retry: 50\n\n")
        while True:
            with double.changed:
                while not double.is_ending and len(double.events) == position:
                    double.changed.wait()
                if double.is_ending:
                    return
                name, value = double.events[position]
            self.wfile.write(f"id: {position}\nevent: {name}\ndata: {json.dumps(value)}\n\n".encode())
            position += 1

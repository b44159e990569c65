"""The proxy that adds faults strikes PUTs alone, each as it says."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bucket.servers import servers


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stored = None

    def do_PUT(self):
        self.stored.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201)

    def do_GET(self):
        self._answer(200)

    def _answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@pytest.fixture
def upstream():
    """A server, and the bodies that it has stored."""
    stored = []
    handler = type("Handler", (Store,), {"stored": stored})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], stored
        server.shutdown()
        thread.join()


def asked(port, method, body=None, timeout_s=20):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, "/x", body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_without_faults_everything_passes(upstream):
    port, stored = upstream
    with servers.fault_proxy(port, servers.Faults({})) as proxy:
        assert asked(proxy, "PUT", b"body" * 100_000) == 201
        assert asked(proxy, "GET") == 200
    assert stored == [b"body" * 100_000]


def test_an_answer_is_lost_after_its_body_was_stored(upstream):
    port, stored = upstream
    with servers.fault_proxy(port, servers.Faults({"lost": 1})) as proxy:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            asked(proxy, "PUT", b"body")
        assert asked(proxy, "GET") == 200
    assert stored == [b"body"]


@pytest.mark.parametrize("status", [409, 501, 503])
def test_a_refused_body_is_not_stored(upstream, status):
    port, stored = upstream
    faults = servers.Faults({str(status): 1})
    with servers.fault_proxy(port, faults) as proxy:
        assert asked(proxy, "PUT", b"body") == status
    assert stored == []
    assert (faults.puts, faults.struck[str(status)]) == (1, 1)


def test_cut_and_hanging_connections_store_nothing(upstream):
    port, stored = upstream
    with (
        servers.fault_proxy(port, servers.Faults({"cut": 1})) as proxy,
        pytest.raises((http.client.HTTPException, ConnectionError)),
    ):
        asked(proxy, "PUT", b"body")
    with servers.fault_proxy(port, servers.Faults({"hang": 1})) as proxy, pytest.raises(TimeoutError):
        asked(proxy, "PUT", b"body", timeout_s=0.2)
    assert stored == []


def test_shares_of_faults_are_kept():
    faults = servers.Faults({"lost": 0.1, "503": 0.05})
    drawn = [faults.next() for _ in range(4000)]
    assert 0.08 < drawn.count("lost") / 4000 < 0.12
    assert 0.03 < drawn.count("503") / 4000 < 0.07
    assert faults.struck.total() == 4000 - drawn.count(None)

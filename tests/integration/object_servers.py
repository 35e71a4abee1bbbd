"""Two S3 servers on 127.0.0.1, a way to them that loses answers, and writers who race; for tests and `make bench NAME=objects`.

moto answers as AWS does, SeaweedFS in a form of its own. Loaded by path, because tests are no package.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET, KEY, SECRET = "baton", "tests", "tests-tests"
SERVERS = ("moto", "seaweedfs")
WRITERS, NAMES = 8, 20
# moto looks whether a name is taken and stores under it in two steps, so of two at once both may be told that they won; a store
# that may be used does both in one
_MOTO = """
import sys, threading
from moto.s3.responses import S3Response
from moto.server import main

one, put = threading.Lock(), S3Response.put_object

def alone(*given):
    with one:
        return put(*given)

S3Response.put_object = alone
main(sys.argv[1:])
"""


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[str]:
    """Run a server whose data lie in `folder` (moto's in its memory); yields its address."""
    folder.mkdir(parents=True, exist_ok=True)
    command, port = _moto() if kind == "moto" else _seaweedfs(folder)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{kind} does not come up: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()  # a polite end takes SeaweedFS 25 s
        server.wait()


def _answers(port: int) -> bool:
    """Whether the server says anything below 500; SeaweedFS does not until its parts have found each other."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except OSError:
        return False


def _moto() -> tuple[list[str], int]:
    (port,) = _free_ports(1)
    return [sys.executable, "-c", _MOTO, "-H", "127.0.0.1", "-p", str(port)], port


def _seaweedfs(folder: Path) -> tuple[list[str], int]:
    identity = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List"]}  # fmt: skip
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir(exist_ok=True)
    # also those that it would open beside (10,000 higher, 8181, 9101): two runs at once must not meet
    parts = ("master", "volume", "filer", "s3")
    ports = dict(zip([*parts, *(f"{part}.grpc" for part in parts)], _free_ports(8), strict=True))
    options = [f"-{part}.port={ports[part]}" for part in parts]
    options += [f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in parts]
    options += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=64",
    ]
    weed = Path(sys.executable).parent / "weed"
    command = [str(weed), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    return [*command, *options], ports["s3"]


def environment(address: str, store: str = "store") -> dict[str, str]:
    """What a process needs to have its store at this server."""
    return {
        "BATON_STORE_URL": f"s3://{BUCKET}/{store}",
        "AWS_ENDPOINT_URL_S3": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def used(address: str, store: str = "store") -> Iterator[None]:
    """Have this process and its children keep their objects there; the bucket is made."""
    import s3fs

    from baton.settings import settings

    before, given = dict(os.environ), environment(address, store)
    os.environ.update(given)
    settings.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()  # it looks at the environment once
    files = s3fs.S3FileSystem()
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]
        settings.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()


# --- answers that get lost ---


@contextmanager
def losing(address: str, one_in: int) -> Iterator[tuple[str, list[int]]]:
    """A proxy that does what it is asked and then hangs up on one PUT in `one_in`; yields its address, and how many it lost."""
    host, port = address.removeprefix("http://").split(":")
    lock, seen, lost = threading.Lock(), [0], [0]

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if self.command == "PUT":
                with lock:
                    seen[0] += 1
                    drop = seen[0] % one_in == 0
                    lost[0] += drop
                if drop:
                    self.close_connection = True
                    return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            # a HEAD's length is that of what a GET would bring
            self.send_header(
                "Content-Length", str(answer.getheader("Content-Length") if self.command == "HEAD" else len(content))
            )
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", lost
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def race() -> dict[str, int]:
    """8 writers put 20 names at once into the store in use, each with bytes of its own.

    Returns:
        `one_winner`: names with exactly one writer who was told so, and whose bytes they are; `false_losers`: writers who
        were refused though the bytes are theirs.
    """
    from baton.data import objects
    from baton.data.objects import StoreError

    starts = [threading.Barrier(WRITERS) for _ in range(NAMES)]

    def wins(turn: int) -> bool:
        number, writer = divmod(turn, WRITERS)
        starts[number].wait()
        try:
            objects.put(f"race/{number}.json", memoryview(f"{writer}".encode()))
        except StoreError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            return False
        return True

    with ThreadPoolExecutor(WRITERS * NAMES) as pool:  # all at once: after a lost answer the client waits a second
        told = list(pool.map(wins, range(WRITERS * NAMES)))
    counts = {"one_winner": 0, "false_losers": 0}
    for item in objects.listed(lambda name: name.startswith("race/")):
        first, owner = int(item.name[5:-5]) * WRITERS, int(objects.get(item.uri))
        winners = [writer for writer in range(WRITERS) if told[first + writer]]
        counts["one_winner"] += winners == [owner]
        counts["false_losers"] += owner not in winners
    return counts

"""A process of its own for reading documents: a hang, a crash or too much memory costs one document, not the batch.

Requests and answers are JSON and bytes with their length in front, over pipes. The process has no environment but
what Python needs, so nothing of a connection is in the memory of the libraries that open foreign files.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any

from baton_packs.customer_experience.reading.text.limits import BOMB, DAMAGED, ReadingLimits

_START_SECONDS = 60.0  # to import the libraries on a busy machine
_WAITS = 3  # times a document's processor time that it may take by the clock
_LATE = (signal.SIGPROF, signal.SIGALRM)
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
)
_SCRIPT = "from baton_packs.customer_experience.reading.process import serve; serve()"
_LENGTH = struct.Struct(">Q")


class DocumentReader:
    """Reads documents one after the other in a child process, which is started again when a document ended it."""

    def __init__(self, limits: ReadingLimits) -> None:
        self.limits = limits
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DocumentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self._ended()

    def read(self, data: bytes, name: str, *, size: int, mailbox: bool) -> dict[str, Any]:
        """The fields of `ParsedDocument`; with `problem` bomb or damaged, and a note, when the process did not survive."""
        process = self.process or self._start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            _send(process.stdin, json.dumps({"name": name, "size": size, "mailbox": mailbox}).encode())
            _send(process.stdin, data)
            answer = _receive(process.stdout)
        except OSError:
            answer = None
        if answer is None:
            return self._died()
        found: dict[str, Any] = json.loads(answer)
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(  # noqa: S603 - fixed command, no shell
            [sys.executable, "-c", _SCRIPT], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdin is not None
        _send(self.process.stdin, json.dumps(asdict(self.limits)).encode())
        return self.process

    def _died(self) -> dict[str, Any]:
        code = self._ended()
        if -code in _LATE:
            note, problem = f"reading took longer than {self.limits.seconds:g} s", BOMB
        elif code in (_NO_MEMORY, -signal.SIGABRT):  # C++ aborts when it gets no memory
            note, problem = f"reading took more than {self.limits.memory_bytes:,} bytes of memory, or gave up", BOMB
        else:
            note, problem = f"reading ended the process ({code})", DAMAGED
        return {"problem": problem, "notes": [note]}

    def _ended(self) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        for stream in (process.stdin, process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # the process is gone, what was not yet written goes with it
                continue
        return process.wait()


_NO_MEMORY = 77  # exit code


def serve() -> None:
    """The child: read documents from standard input until it ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the answers
    for ending in _LATE:
        signal.signal(ending, signal.SIG_DFL)  # ends the process even inside a C library
    signal.setitimer(signal.ITIMER_REAL, _START_SECONDS)
    first = _receive(requests)
    if first is None:
        return
    limits = ReadingLimits(**json.loads(first))
    _limit_memory(limits.memory_bytes)
    from baton_packs.customer_experience.reading import document as reading

    reading.read_document(b"%PDF-")  # libraries and the language model load outside of any document's time
    reading.read_document(b"Ready to read.")
    signal.setitimer(signal.ITIMER_REAL, 0)
    while (header := _receive(requests)) is not None and (data := _receive(requests)) is not None:
        # a busy machine is no fault of the document, so its processor time counts, but nothing hangs for ever
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        signal.setitimer(signal.ITIMER_REAL, _WAITS * limits.seconds)
        try:
            found = asdict(reading.read_document(data, limits=limits, **json.loads(header)))
            answer = json.dumps(found).encode()
        except MemoryError:
            os._exit(_NO_MEMORY)
        except Exception as error:  # whatever a library raises is about this one document
            if re.search(r"\bmemory\b|\balloc", str(error), re.IGNORECASE):  # how C++ libraries say MemoryError
                os._exit(_NO_MEMORY)
            answer = json.dumps({"problem": DAMAGED, "notes": [f"cannot be read: {type(error).__name__}"]}).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, answer)


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the document
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (ValueError, OSError):  # macOS has no such limit; time, pages and pixels are bounded all the same
        return


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """One message; None at the end of the stream, also in the middle of a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None

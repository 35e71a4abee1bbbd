"""One question to a tool: no redirect is followed, no more than 64 kB is read, none lasts longer than its time.

404 is an answer: the tool does not know the value. 400, 414 and 422 are about the value, all other failures about the tool.
"""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from baton.data.fit import LONGEST_KEY, flaw
from baton.endpoint import Endpoint
from baton.lookups import answers
from baton.specs.tool import ToolSpec

LARGEST = 64 * 1024  # bytes of an answer
_OF_THE_VALUE = {400, 414, 422}


@dataclass(frozen=True)
class ToolReply:
    """What a question came to.

    Attributes:
        known: the tool knows the value; None: no answer.
        answer: the declared fields.
        problem: why there is no answer, without values and secrets; empty when there is one.
        of_value: the problem is the value's, the tool is well.
        seconds: that the question took.
    """

    known: bool | None = None
    answer: dict[str, Any] | None = None
    problem: str = ""
    of_value: bool = False
    seconds: float = 0.0


def unaskable(value: str) -> str:
    """Why a value is never sent, empty where it may be: control characters, too long, or a path of dots."""
    found = flaw(value, LONGEST_KEY)
    if found is None and value.strip(".") == "":
        found = "path: is empty or nothing but dots"
    return found or ""


class ToolClient:
    """Asks one tool; a context manager that holds its connections, for several threads."""

    def __init__(self, tool: ToolSpec, endpoint: Endpoint) -> None:
        self._tool = tool
        headers = {**endpoint.headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        limits = httpx.Limits(max_connections=tool.at_once, max_keepalive_connections=tool.at_once)
        self._client = httpx.Client(
            base_url=endpoint.base_url, headers=headers, auth=endpoint.auth, verify=endpoint.verify, limits=limits,
            follow_redirects=False,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, value: str, timeout: float) -> ToolReply:
        """Ask about a value, which `unaskable` has nothing against; never raises for what the tool or network does.

        Args:
            timeout: seconds for the whole of it.
        """
        start = time.monotonic()
        reply = self._ask(
            self._tool.path.replace("{value}", quote(value, safe="")).lstrip("/"), start + timeout, timeout
        )
        return ToolReply(reply.known, reply.answer, reply.problem, reply.of_value, time.monotonic() - start)

    def _ask(self, path: str, until: float, timeout: float) -> ToolReply:
        body = bytearray()
        try:
            with self._client.stream("GET", path, timeout=httpx.Timeout(timeout)) as response:
                status = response.status_code
                if status == 404:
                    return ToolReply(known=False)
                if status != 200:
                    return _refused(status)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    return ToolReply(problem="the answer is packed, which was not asked for")
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > LARGEST:
                        return ToolReply(problem=f"the answer is longer than {LARGEST // 1024} kB")
                    if time.monotonic() > until:
                        return ToolReply(problem=f"no whole answer within {timeout:g} s")
        except httpx.TimeoutException:
            return ToolReply(problem=f"no answer within {timeout:g} s")
        except httpx.ConnectError:
            return ToolReply(problem="no connection")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return ToolReply(problem=f"no answer ({type(error).__name__})")
        try:
            return ToolReply(known=True, answer=answers.read(bytes(body), self._tool.answer))
        except answers.NotAsDeclared as error:
            return ToolReply(problem=str(error))


def _refused(status: int) -> ToolReply:
    if 300 <= status < 400:
        return ToolReply(problem=f"it redirects ({status}), which is not followed")
    words = httpx.codes.get_reason_phrase(status)
    return ToolReply(problem=f"it answers {status} {words}".rstrip(), of_value=status in _OF_THE_VALUE)

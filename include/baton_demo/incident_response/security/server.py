"""The requests of the security services, by part: look-ups, actions, state, faults."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from baton_demo.incident_response.security import known, remedies
from baton_demo.incident_response.security.book import ActionBook, State
from baton_demo.incident_response.security.faults import Faults
from baton_demo.json_service import JsonHandler, JsonServer, RequestRefused, as_json

PARTS = (*known.LOOK_UPS, *remedies.ACTIONS)
_WRONG = {"detail": {"unexpected": [1, 2, 3]}, "score": "very bad", "criticality": None, "privileged": "perhaps"}


class SecurityServer(JsonServer):
    """The services; `port` 0 takes any free one, `server_port` tells which.

    Args:
        database: SQLite file of all state.
        token: of every request but /health.
        faults: whether parts can be broken by POST /faults.
    """

    def __init__(
        self,
        port: int,
        database: Path,
        token: str,
        *,
        faults: bool = False,
        handler: type[BaseHTTPRequestHandler] | None = None,
    ) -> None:
        super().__init__(port, token, handler or SecurityHandler)
        self.book, self.breakable, self.faults = ActionBook(database), faults, Faults(PARTS)

    def server_close(self) -> None:
        """Close socket and file."""
        self.faults.ended.set()
        super().server_close()
        self.book.close()


class SecurityHandler(JsonHandler):
    """One connection."""

    server: SecurityServer

    def do_GET(self) -> None:
        """GET what the module `security_services` lists."""
        self._dispatch(b"", self._get)

    def do_POST(self) -> None:
        """POST /<part>/actions and /faults."""
        try:
            body = self.body()
        except RequestRefused as refused:
            self.reply(refused.status, {"error": str(refused)})
            return
        self._dispatch(body, self._post)

    def _dispatch(self, body: bytes, work: Any) -> None:
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if not self._broken(path[0]):
            self.serve(lambda: work(path, body))

    def _broken(self, part: str) -> bool:
        """Misbehave as the switch of the part says; returns whether that was the answer."""
        fault = self.server.faults.of(part)
        if fault.mode == "down":
            self.close_connection = True
        elif fault.mode == "slow":
            self.server.faults.ended.wait(fault.seconds)
        elif fault.mode == "wrong":
            self.reply(200, _WRONG)
        elif fault.mode == "redirect":
            self.reply(302, {}, {"Location": "/health"})
        return fault.mode in ("down", "wrong", "redirect")

    def _get(self, path: list[str], _: bytes) -> tuple[int, State]:
        if path == ["health"]:
            return 200, {"status": "ok"}
        self.authorised()
        part, book = path[0], self.server.book
        match path:
            case ["faults"] if self.server.breakable:
                return 200, self.server.faults.now()
            case [_, value] if part in known.LOOK_UPS:
                return 200, known.LOOK_UPS[part](book, value)
            case [_, "actions"] if part in remedies.ACTIONS:
                return 200, book.page(part, self._after())
            case [_, "actions", key] if part in remedies.ACTIONS:
                if (found := book.find(part, key)) is not None:
                    return 200, found
            case ["firewall", "state", address]:
                return 200, remedies.address_state(book, address)
            case ["directory", "accounts", name]:
                return 200, remedies.account_state(book, name)
            case ["directory", "hosts", name]:
                return 200, remedies.host_state(book, name)
            case [_, "state"] if part in remedies.ACTIONS:
                return 200, {"state": list(book.all(part).values())}
            case ["tickets", number]:
                return 200, remedies.ticket_state(book, number)
        raise RequestRefused(404, f"nothing at {urlsplit(self.path).path}")

    def _post(self, path: list[str], body: bytes) -> tuple[int, State]:
        self.authorised()
        match path:
            case ["faults"] if self.server.breakable:
                return 200, self.server.faults.switch(as_json(body))
            case [part, "actions"] if part in remedies.ACTIONS:
                key = self.key()
                new, answer = remedies.act(self.server.book, part, key, remedies.checked(part, as_json(body)))
                return (201 if new else 200), answer
        raise RequestRefused(404, f"nothing at {urlsplit(self.path).path}")

    def _after(self) -> int:
        after = parse_qs(urlsplit(self.path).query).get("after", ["0"])[0]
        if not after.isdecimal() or len(after) > 15:
            raise RequestRefused(422, "after: the number of an action is needed")
        return int(after)

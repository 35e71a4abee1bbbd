"""The stand-in servers of incident response: log-in, keys, state, faults, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from baton.effects.http import Endpoint, HttpPeer
from baton_demo.incident_response import company
from baton_demo.incident_response.security.server import SecurityServer

TOKEN = "s3cret-security-token"
LOG_IN = {"Authorization": f"Bearer {TOKEN}"}
STATES = {
    "block_address": ("firewall", "198.51.100.7", "/firewall/state/198.51.100.7", {"blocked": True}),
    "disable_account": ("directory", "anna.adler", "/directory/accounts/anna.adler", {"disabled": True}),
    "rotate_key": ("directory", company.SERVICE_ACCOUNT, f"/directory/accounts/{company.SERVICE_ACCOUNT}", {"key_version": 2}),
    "isolate_host": ("directory", "srv-db", "/directory/hosts/srv-db", {"isolated": True}),
}  # fmt: skip
UNDO = {
    "block_address": "unblock_address", "disable_account": "enable_account", "rotate_key": "restore_key",
    "isolate_host": "release_host",
}  # fmt: skip


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    server = SecurityServer(0, tmp_path / "security.db", TOKEN, faults=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    with httpx.Client(base_url=server.url, headers=LOG_IN, trust_env=False, timeout=5) as opened:
        yield opened
    server.shutdown()
    thread.join()
    server.server_close()


def act(client: httpx.Client, part: str, key: str, **body: Any) -> httpx.Response:
    return client.post(f"/{part}/actions", json=body, headers={"Idempotency-Key": key})


def test_only_health_needs_no_token(client: httpx.Client) -> None:
    with httpx.Client(base_url=client.base_url, trust_env=False) as stranger:
        assert stranger.get("/health").json() == {"status": "ok"}
        for address in ("/assets/srv-db", "/firewall/actions", "/directory/hosts/srv-db", "/faults", "/nothing"):
            assert stranger.get(address).status_code == 401, address
            assert stranger.get(address, headers={"Authorization": "Bearer other"}).status_code == 401, address
        for address in ("/firewall/actions", "/faults"):
            assert stranger.post(address, json={}).status_code == 401, address
    assert client.get("/firewall/state").json() == {"state": []}


def test_look_ups_answer_by_their_schema(client: httpx.Client) -> None:
    worst = client.get(f"/reputation/{company.ATTACKER}").json()
    assert worst == {"indicator": company.ATTACKER, "score": 96, "categories": ["brute force", "botnet"]}
    below = client.get(f"/reputation/a1b2.{company.TUNNEL}").json()
    assert (below["indicator"], below["score"]) == (f"a1b2.{company.TUNNEL}", 88)
    scanner = client.get(f"/assets/{company.SCANNER}").json()
    assert (scanner["asset_class"], scanner["roles"]) == ("server", ["vulnerability_scanner"])
    assert client.get(f"/assets/{scanner['address']}").json() == scanner
    assert client.get(f"/assets/{company.CONTROLLER}").json()["asset_class"] == "domain_controller"
    user = client.get("/users/a.berg").json()
    assert user == {"user": "a.berg", "department": "operations", "privileged": True, "disabled": False}
    for unknown in ("/reputation/10.1.2.3", "/assets/ws-99", "/users/nobody", "/reputation/x.unknown.example"):
        assert client.get(unknown).status_code == 404, unknown


def test_the_user_directory_sees_what_the_directory_did(client: httpx.Client) -> None:
    act(client, "directory", "k", action="disable_account", target="anna.adler")
    assert client.get("/users/anna.adler").json()["disabled"]


def test_an_action_is_carried_out_once_under_its_key(client: httpx.Client) -> None:
    body = {"action": "block_address", "target": "203.0.113.9", "reason": "brute force"}
    first, again = act(client, "firewall", "k1", **body), act(client, "firewall", "k1", **body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == client.get("/firewall/actions/k1").json()
    assert first.json()["action_id"]
    assert first.json()["reason"] == "brute force"
    assert act(client, "firewall", "k1", **{**body, "target": "203.0.113.10"}).status_code == 409
    assert not client.get("/firewall/state/203.0.113.10").json()["blocked"]
    assert client.get("/firewall/actions/k2").status_code == 404
    second = act(client, "firewall", "k2", **body).json()
    assert (second["changed"], second["before"]) == (False, {"address": "203.0.113.9", "blocked": True})
    assert [one["key"] for one in client.get("/firewall/actions").json()["actions"]] == ["k1", "k2"]


def test_a_hundred_requests_at_once_are_one_action(client: httpx.Client) -> None:
    with ThreadPoolExecutor(12) as pool:
        work = [pool.submit(act, client, "tickets", "k", action="open_ticket", target="i-1") for _ in range(100)]
        answers = [one.result() for one in work]
    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
    assert len({answer.json()["ticket"] for answer in answers}) == 1
    assert len(client.get("/tickets/state").json()["state"]) == 1


@pytest.mark.parametrize("action", UNDO)
def test_each_action_shows_in_the_state_and_is_taken_back(client: httpx.Client, action: str) -> None:
    part, target, address, wanted = STATES[action]
    before = client.get(address).json()
    done = act(client, part, "k", action=action, target=target).json()
    after = client.get(address).json()
    assert wanted.items() <= after.items()
    assert (done["before"], done["after"], done["changed"]) == (before, after, True)
    act(client, part, "u", action=UNDO[action], target=target)
    assert client.get(address).json() == before


def test_a_ticket_is_closed_by_its_number_or_by_what_it_was_opened_for(client: httpx.Client) -> None:
    first, second = (
        act(client, "tickets", key, action="open_ticket", target="i-7", subject="x").json()["ticket"] for key in "ab"
    )
    assert client.get(f"/tickets/{first}").json() == {"ticket": first, "state": "open", "target": "i-7", "subject": "x"}
    assert act(client, "tickets", "c", action="close_ticket", target="i-7").json()["ticket"] == second, "the newest"
    assert act(client, "tickets", "d", action="close_ticket", target=first).status_code == 201
    assert client.get(f"/tickets/{first}").json()["state"] == "closed"
    assert act(client, "tickets", "e", action="close_ticket", target="i-7").status_code == 422


@pytest.mark.parametrize(("part", "body", "word"), [
    ("firewall", {"action": "block_address", "target": "not an address"}, "no IP address"),
    ("firewall", {"action": "isolate_host", "target": "srv-db"}, "firewall knows block_address"),
    ("firewall", {"action": "block_address"}, "target: a text"),
    ("firewall", {"action": "block_address", "target": "203.0.113.9", "action_id": "F-1"}, "leave it out"),
    ("firewall", ["block_address"], "a JSON object"),
    ("directory", {"action": "isolate_host", "target": "ws-99"}, "no host"),
    ("directory", {"action": "disable_account", "target": "nobody"}, "no account"),
    ("directory", {"action": "restore_key", "target": "anna.adler"}, "no key of version 0"),
    ("directory", {"action": "restore_key", "target": "anna.adler", "key_version": 5}, "no key of version 5"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    client: httpx.Client, part: str, body: Any, word: str
) -> None:
    refused = client.post(f"/{part}/actions", json=body, headers={"Idempotency-Key": "k"})
    assert refused.status_code == 422
    assert word in refused.json()["error"]
    assert client.get(f"/{part}/actions").json() == {"actions": [], "next": None}
    assert client.get(f"/{part}/actions/k").status_code == 404


def test_requests_that_are_broken_are_refused(client: httpx.Client) -> None:
    assert client.post("/firewall/actions", content=b"{", headers={"Idempotency-Key": "k"}).status_code == 400
    assert client.post("/firewall/actions", json={}).status_code == 400, "no key"
    assert client.post("/firewall/actions", content=b"x" * 70_000).status_code == 413
    assert client.post("/mail/actions", json={}, headers={"Idempotency-Key": "k"}).status_code == 404
    assert client.get("/firewall/actions?after=x").status_code == 422


@pytest.mark.parametrize("part", ["reputation", "assets", "users", "firewall", "directory", "tickets"])
def test_one_part_breaks_and_the_others_do_not_notice(client: httpx.Client, part: str) -> None:
    addresses = {"reputation": company.ATTACKER, "assets": "srv-db", "users": "a.berg"}
    address = f"/{part}/{addresses.get(part, 'state')}"
    well = client.get(address).json()

    def switch(mode: str, seconds: float = 30) -> None:
        client.post("/faults", json={"part": part, "mode": mode, "seconds": seconds}).raise_for_status()

    switch("down")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(address)
    assert client.get("/faults").json() == {"faults": {part: "down"}}
    other = "users/a.chan" if part != "users" else "assets/ws-01"
    assert client.get(f"/{other}").status_code == 200
    switch("slow", 0.3)
    began = time.monotonic()
    assert client.get(address).json() == well
    assert time.monotonic() - began >= 0.3
    switch("wrong")
    assert set(client.get(address).json()) & set(well) in ({"score"}, {"criticality"}, {"privileged"}, set())
    switch("redirect")
    assert client.get(address, follow_redirects=False).status_code == 302
    switch("none")
    assert client.get(address).json() == well


def test_a_broken_part_carries_nothing_out(client: httpx.Client) -> None:
    for mode in ("wrong", "redirect"):
        client.post("/faults", json={"part": "firewall", "mode": mode})
        answer = act(client, "firewall", "k", action="block_address", target="203.0.113.9")
        assert "action_id" not in answer.json()
    client.post("/faults", json={"part": "firewall", "mode": "none"})
    assert client.get("/firewall/actions/k").status_code == 404
    assert client.post("/faults", json={"part": "mail", "mode": "down"}).status_code == 422
    assert client.post("/faults", json={"part": "users", "mode": "tired"}).status_code == 422


def test_faults_are_off_unless_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        assert httpx.post(f"{address}/faults", json={}, headers=LOG_IN, trust_env=False).status_code == 404


def test_the_outbox_knows_its_peer(client: httpx.Client) -> None:
    """Actions are placed and asked for by the same client as all effects."""
    endpoint = Endpoint(str(client.base_url), LOG_IN)
    payload = {"action": "isolate_host", "target": "srv-db", "incident": "i-1"}
    with HttpPeer(endpoint, "directory/actions", "action_id", ("action", "target")) as peer:
        assert peer.find("flow/1", payload).kind == "absent"
        placed = peer.place("flow/1", payload)
        assert (placed.kind, placed.agreed) == ("done", True)
        assert peer.find("flow/1", payload).answer == placed.answer
        assert peer.place("flow/1", {**payload, "target": "srv-web"}).kind == "conflict"


# --- a process of its own ---


class serving:
    """The started program on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "token").write_text(TOKEN)
        self.command = [
            sys.executable, "-m", "baton_demo.incident_response.security_services", "--port", "0",
            "--database", str(folder / "security.db"), "--token-file", str(folder / "token"), *options,
        ]  # fmt: skip

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _until_killed(work: Callable[[int], httpx.Response]) -> list[int]:
    done = []
    for number in range(100_000):
        try:
            work(number).raise_for_status()
        except httpx.TransportError:
            return done
        done.append(number)
    raise AssertionError("was not killed")


def test_what_was_answered_outlives_kill_9(tmp_path: Path) -> None:
    service = serving(tmp_path)
    with service as address, httpx.Client(base_url=address, headers=LOG_IN, trust_env=False) as client:
        threading.Timer(0.3, service.kill).start()
        done = _until_killed(
            lambda n: act(client, "firewall", f"k{n}", action="block_address", target=f"203.0.{n // 250}.{n % 250}")
        )
    assert len(done) > 5
    with serving(tmp_path) as address, httpx.Client(base_url=address, headers=LOG_IN, trust_env=False) as client:
        blocked = {one["address"] for one in client.get("/firewall/state").json()["state"]}
        assert {f"203.0.{n // 250}.{n % 250}" for n in done} <= blocked
        assert len(blocked) <= len(done) + 1, "at most the one that got no answer"
        for number in done[-3:]:
            target = f"203.0.{number // 250}.{number % 250}"
            again = act(client, "firewall", f"k{number}", action="block_address", target=target)
            assert again.status_code == 200, "known under its key"


def test_an_empty_token_is_an_error(tmp_path: Path) -> None:
    command = serving(tmp_path).command
    (tmp_path / "token").write_text("\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "write a secret token into it" in done.stderr

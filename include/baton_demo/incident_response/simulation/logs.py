"""Log lines of the servers on an ordinary day: SSH sessions, mistyped passwords, sudo, timers, and knocks from outside."""

from __future__ import annotations

import numpy as np

from baton_demo.incident_response import company
from baton_demo.incident_response.company import Machine
from baton_demo.incident_response.simulation.rows import AUTHENTICATION, FAILURE, PROCESS, SUCCESS, Events

_TIMERS = (
    "/usr/lib/sysstat/collect 1 1", "run-parts --report /etc/cron.hourly", "/usr/local/bin/rotate-logs --quiet",
    "/usr/local/bin/check-disk --warn 85",
)  # fmt: skip
_AS_ROOT = (
    "/usr/bin/systemctl status nginx", "/usr/bin/systemctl restart app", "/usr/bin/journalctl -u app", "/usr/bin/apt-get update",
    "/usr/bin/tail -n 100 /var/log/app.log", "/usr/bin/df -h",
)  # fmt: skip
_GUESSED = ("admin", "test", "oracle", "ubuntu", "guest", "pi", "ftpuser", "user")


def failed(
    events: Events, at: float, host: Machine, user: str, source: str, port: int, pid: int, *, known: bool = True
) -> None:
    """A wrong password at the SSH server: the line that says so, and those around it."""
    to = {"src_endpoint_ip": source, "dst_endpoint_ip": host.address, "dst_endpoint_port": 22, "user_name": user}
    who = user if known else f"invalid user {user}"
    if not known:
        events.log(at - 0.4, host, "sshd", f"sshd[{pid}]: Invalid user {user} from {source} port {port}", **to)
    line = f"sshd[{pid}]: Failed password for {who} from {source} port {port} ssh2"
    events.log(at, host, "sshd", line, activity_id=1, status_id=FAILURE, severity_id=2, **to)
    line = f"sshd[{pid}]: Connection closed by {'authenticating' if known else 'invalid'} user {user} {source} port {port} [preauth]"
    events.log(at + 0.3, host, "sshd", line, **to)


def session(
    events: Events,
    at: float,
    host: Machine,
    user: str,
    source: str,
    port: int,
    pid: int,
    lasts: float,
    *,
    method: str = "publickey",
) -> None:
    """A successful log-in at the SSH server, its session, and its end after `lasts` seconds."""
    to = {"src_endpoint_ip": source, "dst_endpoint_ip": host.address, "dst_endpoint_port": 22, "user_name": user}
    line = f"sshd[{pid}]: Accepted {method} for {user} from {source} port {port} ssh2"
    events.log(at, host, "sshd", line, activity_id=1, status_id=SUCCESS, dst_endpoint_hostname=host.name, **to)
    opened = f"sshd[{pid}]: pam_unix(sshd:session): session opened for user {user} by (uid=0)"
    events.log(at + 0.1, host, "sshd", opened, **to)
    end = {**to, "activity_id": 2, "status_id": SUCCESS, "class_uid": AUTHENTICATION}
    events.log(at + lasts, host, "sshd", f"sshd[{pid}]: Disconnected from user {user} {source} port {port}", **end)
    closed = f"sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}"
    events.log(at + lasts + 0.1, host, "sshd", closed, **to)


def banners(
    events: Events, rng: np.random.Generator, host: Machine, source: str, begin: float, end: float, number: int
) -> None:
    """Somebody reads the SSH server's banner and hangs up, `number` times: what scanners do."""
    for at in np.sort(rng.uniform(begin, end, number)):
        port, pid = int(rng.integers(30_000, 60_000)), int(rng.integers(1_000, 32_000))
        to = {"src_endpoint_ip": source, "dst_endpoint_ip": host.address, "dst_endpoint_port": 22}
        if rng.random() < 0.5:
            line = f"sshd[{pid}]: banner exchange: Connection from {source} port {port}: invalid format"
            events.log(float(at), host, "sshd", line, **to)
        events.log(
            float(at) + 0.2, host, "sshd", f"sshd[{pid}]: Connection closed by {source} port {port} [preauth]", **to
        )


def everyday(rng: np.random.Generator, start: float, length: float, busy: float) -> Events:
    """Lines of `length` seconds from `start`; what a session logs at its end may come later."""
    events = Events()
    servers = [host for host in company.hosts().values() if host.asset_class != company.WORKSTATION]
    people = [
        user
        for user in company.users().values()
        if not user.disabled and user.department in ("engineering", "operations")
    ]
    linux = [host for host in servers if host.name != company.CONTROLLER]
    for _ in range(rng.poisson(9 * busy * length / 300)):
        host, user = linux[rng.integers(len(linux))], people[rng.integers(len(people))]
        source = company.hosts()[user.workstation].address
        at, port, pid = (
            start + rng.uniform(0, length),
            int(rng.integers(40_000, 65_000)),
            int(rng.integers(1_000, 32_000)),
        )
        if rng.random() < 0.12:  # a finger slipped, once or twice
            for slip in range(int(rng.integers(1, 3))):
                failed(events, at - 9 + 4 * slip, host, user.name, source, port - 2 + slip, pid)
        method = "publickey" if rng.random() < 0.8 else "password"
        session(events, at, host, user.name, source, port, pid, float(rng.exponential(240)) + 5, method=method)
        if rng.random() < 0.4:
            _sudo(events, at + 3, host, user.name, _AS_ROOT[rng.integers(len(_AS_ROOT))])
    for host in linux:
        for _ in range(rng.poisson(1.2 * length / 300)):
            command = _TIMERS[rng.integers(len(_TIMERS))]
            line = f"CRON[{rng.integers(1_000, 32_000)}]: (root) CMD ({command})"
            events.log(start + rng.uniform(0, length), host, "cron", line, class_uid=PROCESS, activity_id=1,
                       process_cmd_line=command, process_name=command.split()[0], user_name="root")  # fmt: skip
    _knocks(events, rng, start, length)
    return events


def _sudo(events: Events, at: float, host: Machine, user: str, command: str) -> None:
    line = f"sudo: {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}"
    events.log(at, host, "sudo", line, class_uid=PROCESS, activity_id=1, status_id=SUCCESS, user_name=user,
               process_cmd_line=command, process_name=command.split()[0])  # fmt: skip


def _knocks(events: Events, rng: np.random.Generator, start: float, length: float) -> None:
    """The internet tries every door, all day, a few times an hour each: no attack on anybody in particular."""
    jump = company.hosts()[company.JUMP]
    for _ in range(rng.poisson(1.5 * length / 300)):
        source, user = f"203.0.113.{rng.integers(60, 64)}", _GUESSED[rng.integers(len(_GUESSED))]
        port, pid = int(rng.integers(30_000, 60_000)), int(rng.integers(1_000, 32_000))
        failed(events, start + rng.uniform(1, length), jump, user, source, port, pid, known=False)

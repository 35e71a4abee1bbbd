"""People at their desks on an ordinary day: log-ins, programs, names that are asked for, pages that are read."""

from __future__ import annotations

import numpy as np

from baton_demo.incident_response import company
from baton_demo.incident_response.company import User
from baton_demo.incident_response.simulation.rows import AUTHENTICATION, DNS, FAILURE, HTTP, PROCESS, SUCCESS, Events

_PROGRAMS = (
    (r"C:\Program Files\Office\mail.exe", "mail.exe /recycle"), (r"C:\Program Files\Office\sheets.exe", "sheets.exe /r budget.xlsx"),
    (r"C:\Program Files\Browser\browser.exe", "browser.exe --type=renderer --lang=en"),
    (r"C:\Program Files\Browser\browser.exe", "browser.exe --type=utility"), (r"C:\Program Files\Chat\chat.exe", "chat.exe --background"),
    (r"C:\Windows\explorer.exe", "explorer.exe"), (r"C:\Windows\System32\notepad.exe", "notepad.exe notes.txt"),
    (r"C:\Windows\System32\svchost.exe", "svchost.exe -k netsvcs -p"), (r"C:\Program Files\Editor\code.exe", "code.exe --unity-launch"),
    (r"C:\Program Files\Git\bin\git.exe", "git.exe pull --rebase"), (r"C:\Program Files\Archiver\7z.exe", "7z.exe x report.zip"),
    (r"C:\Windows\System32\cmd.exe", "cmd.exe /c update-check.bat"),
)  # fmt: skip
_LABELS = ("www", "api", "img", "login", "cdn", "static", "assets", "edge-3", "eu")
_PAGES = (
    "/",
    "/inbox",
    "/search?q=minutes",
    "/v1/items?page=2",
    "/docs/guide",
    "/static/app.js",
    "/feed",
    "/calendar/week",
)


def everyday(rng: np.random.Generator, start: float, length: float, busy: float) -> Events:
    """Events of `length` seconds from `start`."""
    events, share = Events(), busy * length / 300
    people = [user for user in company.users().values() if not user.disabled and user.workstation.startswith("ws-")]

    def some(mean: float) -> list[tuple[float, User]]:
        times = start + np.sort(rng.uniform(0, length, rng.poisson(mean * share)))
        return [(float(at), people[rng.integers(len(people))]) for at in times]

    controller = company.hosts()[company.CONTROLLER]
    for at, user in some(14):
        to = {"dst_endpoint_ip": controller.address, "dst_endpoint_hostname": controller.name, "dst_endpoint_port": 88}
        source = company.hosts()[user.workstation].address
        wrong = rng.random() < 0.06
        events.add(at, AUTHENTICATION, user.workstation, user_name=user.name, src_endpoint_ip=source, service_name="security",
                   status_id=FAILURE if wrong else SUCCESS, severity_id=2 if wrong else 1, **to)  # fmt: skip
    for at, user in some(70):
        path, command = _PROGRAMS[rng.integers(len(_PROGRAMS))]
        events.add(at, PROCESS, user.workstation, user_name=user.name, process_name=path, process_cmd_line=command,
                   service_name="security")  # fmt: skip
    for at, user in some(90):
        domain = company.FRIENDLY_DOMAINS[rng.integers(len(company.FRIENDLY_DOMAINS))]
        name = f"{_LABELS[rng.integers(len(_LABELS))]}.{domain}"
        events.add(at, DNS, user.workstation, user_name=user.name, src_endpoint_ip=company.hosts()[user.workstation].address,
                   dst_endpoint_ip=controller.address, dst_endpoint_port=53, query_hostname=name,
                   status_id=SUCCESS if rng.random() < 0.97 else FAILURE)  # fmt: skip
    for at, user in some(60):
        domain = company.FRIENDLY_DOMAINS[rng.integers(len(company.FRIENDLY_DOMAINS))]
        upload = rng.random() < 0.05  # an attachment, a video call
        sent = rng.lognormal(14.2, 1.1) if upload else rng.lognormal(6.6, 0.7)
        events.add(at, HTTP, user.workstation, user_name=user.name, src_endpoint_ip=company.hosts()[user.workstation].address,
                   dst_endpoint_ip=f"192.0.2.{rng.integers(1, 41)}", dst_endpoint_hostname=domain, dst_endpoint_port=443,
                   activity_id=6 if upload else 3, http_request_url=f"https://{domain}{_PAGES[rng.integers(len(_PAGES))]}",
                   traffic_bytes_out=int(min(sent, 15e6)))  # fmt: skip
    return events

"""`baton up`, `baton status`, `baton doctor`."""

import signal
import time
from datetime import datetime
from typing import Annotated, Any

import typer

from baton.cli.output import Json, as_json, table
from baton.errors import BatonError, ServiceError
from baton.packs.pack import find_pack, packs
from baton.services.supervisor import Services
from baton.settings import read_services, settings


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(up)
    app.command()(status)
    app.command()(doctor)


def up(
    paused: Annotated[bool, typer.Option(help="Start new DAGs paused.")] = False,
    pack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACK", help="Only the DAGs and servers of this installed pack; several times for several."
        ),
    ] = None,
) -> None:
    """Start Airflow and MLflow on 127.0.0.1 and keep them running; Ctrl-C stops all."""
    from baton.services.supervisor import Services

    chosen = [find_pack(one)[0] for one in pack or ()]
    if missing := [name for name in chosen if name not in packs()]:
        raise BatonError(f"pack {missing[0]} is not installed: `pip install --no-deps -e` its folder first")
    only = {"BATON_PACKS": ",".join(chosen)} if chosen else {}
    services = Services(paused=paused, report=_say, extra_env=only, companions_of=chosen)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        seconds = services.start()
        _introduce(services, seconds)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        _say("stopping; a second Ctrl-C changes nothing")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        services.stop()
        _say("stopped")


def _say(line: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S} {line}", flush=True)


def _introduce(services: Services, seconds: float) -> None:
    from baton.tracking.rest import credentials

    home = services.settings.home
    reviewer = credentials(home, "reviewer")
    _say(f"everything is well after {seconds:.0f} s")
    print(f"\n  Airflow  {services.airflow_url}  user admin, password {services.users['admin']}")
    print(f"  MLflow   {services.mlflow_url}  user {reviewer.username}, password {reviewer.password}")
    print(f"\n  further users: {services.settings.secrets_dir}; logs: {services.settings.logs_dir}")
    print("  Ctrl-C stops everything.\n", flush=True)


def status(json: Json = False) -> None:
    """Show whether the services run and are well, and what stands in for tools and models; exit code 1 if a service is not."""
    from baton.console.queries.state import in_force
    from baton.record.warehouse import read
    from baton.services.health import answers, beats, heartbeats
    from baton.services.processes import read_sessions
    from baton.services.supervisor import supervisor_of

    home = settings().home
    holder = supervisor_of(home)
    if holder is None:
        raise ServiceError(f"nothing runs in {home}; start it with `baton up`")
    addresses = {name: entry["url"] for name, entry in read_services(home).items()}
    if not addresses:
        raise ServiceError(f"process {holder} is still starting the services of {home}")
    beating = heartbeats(f"{addresses['airflow']}/api/v2/monitor/health")
    well = {"api-server": beating is not None}
    well |= {name: answers(f"{url}/health") for name, url in addresses.items() if name != "airflow"}
    rows = []
    for name, session in read_sessions(settings().sessions_file).items():
        leader = session.leader()
        if name not in well:
            well[name] = beating is not None and beats(beating.get(name.replace("-", "_")), session.started)
        state = "well" if well[name] and leader else "starting or unwell" if leader else "ended"
        rows.append({"service": name, "state": state, "pid": session.sid, "log": str(home / "logs" / f"{name}.log")})
    with read() as conn:
        healing = in_force(conn)
    if json:
        print(as_json({"home": str(home), "supervisor": holder, "addresses": addresses, "services": rows, **healing}))
    else:
        table(["service", "state", "pid", "log"], [[str(cell) for cell in row.values()] for row in rows])
        _show_stand_ins(healing)
        print(f"\nAirflow {addresses['airflow']}\nMLflow  {addresses['mlflow']}\nsupervised by process {holder}")
    if not all(row["state"] == "well" for row in rows):
        raise typer.Exit(1)


def _show_stand_ins(healing: dict[str, list[dict[str, Any]]]) -> None:
    """Breakers that are open and models that others stand in for; nothing where there are none."""
    columns = {
        "breakers": ("tool", "state", "since", "retry_at", "error"),
        "rungs": ("flow", "model", "rung", "version", "since", "partition", "reason"),
    }
    for kind, names in columns.items():
        if healing[kind]:
            print()
            table(list(names), [[str(one[name] or "") for name in names] for one in healing[kind]])


def doctor(json: Json = False) -> None:
    """Check this installation and its home; exit code 1 and what to do if anything is wrong."""
    from baton.cli.doctor import examine

    findings = list(examine())
    if json:
        for finding in findings:
            print(as_json(finding))
        raise typer.Exit(any(finding.ok is False for finding in findings))
    mark = {True: "ok", False: "WRONG", None: "note"}
    table(["", "what", "finding"], [[mark[f.ok], f.what, f.says] for f in findings])
    if any(finding.ok is False for finding in findings):
        raise BatonError("see the lines marked WRONG")

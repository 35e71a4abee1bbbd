"""The whole orchestra: sources, flows, models and effects out of the DAGs' wiring, with today's state on each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from baton.console.host import Rights, RunsOfDag, Wiring
from baton.console.queries.lineage import first_row
from baton.console.queries.models import moves
from baton.console.wording import count, partition, plural
from baton.effects.outbox import OPEN, PENDING, SENDING
from baton.names import INGEST, ingest_of, monitor_of, promote_of, score_of, train_of
from baton.record import tables
from baton.record.warehouse import read

GOOD, WARN, BAD = "good", "warn", "bad"
_WORST = (BAD, WARN, GOOD, "")


@dataclass
class Node:
    """One part: source, flow, model or effect.

    Attributes:
        key: tells it from all others; `name`: what it is called.
        says: today's state, in words, the most important first; `state`: good, warn, bad or nothing.
        page: where it is looked at; `inside`: a page of the console (below its own path), else of Airflow's.
    """

    kind: str
    key: str
    name: str
    page: str = ""
    inside: bool = False
    says: list[str] = field(default_factory=list)
    state: str = ""

    def say(self, words: str, state: str = "") -> None:
        """Add to the state; the worst one colours the part."""
        self.says.append(words)
        self.state = min(self.state, state, key=_WORST.index)


def gather(rights: Rights) -> dict[str, Any]:
    """The map as plain values; only DAGs that the person may read.

    Returns:
        packs: name -> nodes (see `Node`) in the order of the flows; edges: [from, to, what], keys of nodes, what: reads,
        scores, labels, wakes or sends.
    """
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    runs = {one.dag_id: one for one in rights.runs(midnight)}
    wirings = [one for one in rights.wirings() if one.tagged("kind")]
    packs: dict[str, dict[str, Node]] = {}
    edges: dict[tuple[str, str], str] = {}
    with read() as conn:
        _flows(conn, wirings, runs, packs, edges)
        _models(conn, wirings, runs, packs, edges)
    return {
        "packs": {name: [asdict(node) for node in nodes.values()] for name, nodes in sorted(packs.items())},
        "edges": [[*ends, what] for ends, what in edges.items()],
    }


def _flows(
    conn: Connection, wirings: Iterable[Wiring], runs: Mapping[str, RunsOfDag], packs: dict[str, dict[str, Node]],
    edges: dict[tuple[str, str], str],
) -> None:  # fmt: skip
    """Flows with their sources, the models that score in them, and their effects."""
    effects: dict[str, tuple[Node, Counter[str]]] = {}  # several flows may send by one connection
    waiting, open_cases, broken = _waiting(conn), _open(conn, tables.cases), _open(conn, tables.quarantine)
    for dag in wirings:
        if dag.tagged("kind") != "flow":
            continue
        pack = dag.tagged("pack") or ""
        nodes = packs.setdefault(pack, {})
        flow = nodes.setdefault(
            f"flow {dag.dag_id}", Node("flow", f"flow {dag.dag_id}", dag.dag_id, f"/dags/{dag.dag_id}")
        )
        _say_runs(flow, dag, runs.get(dag.dag_id))
        if cases := open_cases.get(dag.dag_id):
            flow.say(plural(cases, "open case"), WARN)
        for task_id, options in dag.stages.items():
            if options.get("source") and task_id in (INGEST, ingest_of(options["source"])):
                key = f"source {pack} {options['source']}"
                node = nodes.setdefault(key, Node("source", key, options["source"], "/today#quarantine", inside=True))
                _say_delivery(conn, node, dag.dag_id, task_id, broken.get(dag.dag_id, 0) if task_id == INGEST else 0)
                edges[key, flow.key] = "reads"
            elif options.get("model") and task_id == score_of(options["model"]):
                edges[flow.key, f"model {options['model']}"] = "scores"
            elif options.get("effect"):
                key = f"effect {pack} {options['effect']} {options.get('conn_id', '')}"
                name = f"{options['effect']} by {options.get('conn_id') or 'nothing'}".replace("_", " ")
                node = nodes.setdefault(key, Node("effect", key, name, f"/dags/{dag.dag_id}"))
                if (flow.key, key) not in edges:
                    edges[flow.key, key] = "sends"
                    effects.setdefault(key, (node, Counter()))[1].update(
                        waiting.get((dag.dag_id, options["effect"]), {})
                    )
    for node, states in effects.values():
        _say_effects(node, states)


def _models(
    conn: Connection, wirings: Sequence[Wiring], runs: Mapping[str, RunsOfDag], packs: dict[str, dict[str, Node]],
    edges: dict[tuple[str, str], str],
) -> None:  # fmt: skip
    """Models by their lifecycle DAGs; and which flow wakes what, by the assets between them."""
    known = {dag.dag_id: f"flow {dag.dag_id}" for dag in wirings if dag.tagged("kind") == "flow"}
    for dag in wirings:
        model = dag.tagged("model")
        if model is None or dag.tagged("kind") == "flow":
            continue
        key, nodes = f"model {model}", packs.setdefault(dag.tagged("pack") or "", {})
        if key not in nodes:
            nodes[key] = Node("model", key, model, f"/models?model={model}", inside=True)
            _say_model(conn, nodes[key], model)
        known[dag.dag_id] = key
        today = runs.get(dag.dag_id)
        if today is not None and today.last_state == "failed":
            nodes[key].say(f"{dag.dag_id} failed", BAD)
        elif today is not None and today.last_state == "running":
            verbs = {
                train_of(model): "in training",
                promote_of(model): "waits for an answer",
                monitor_of(model): "being watched",
            }
            nodes[key].say(verbs.get(dag.dag_id, "running"), WARN if dag.dag_id == promote_of(model) else "")
    for giver in wirings:
        for dag in wirings:
            ends = known.get(giver.dag_id), known.get(dag.dag_id)
            shared = set(giver.gives) & set(dag.wakes_on)
            if shared and ends[0] != ends[1] and all(ends) and (own := (str(ends[0]), str(ends[1]))) not in edges:
                edges[own] = "labels" if any(uri.endswith("/labelled") for uri in shared) else "wakes"
    ends_known = {key for nodes in packs.values() for key in nodes}
    for pair in [pair for pair in edges if not set(pair) <= ends_known]:
        del edges[pair]  # a model whose lifecycle the person may not read


def _say_runs(node: Node, dag: Wiring, today: RunsOfDag | None) -> None:
    """What ran today; a failed run that a later one made good stays a warning."""
    if dag.paused:
        node.say("paused", WARN)
    if today is None:
        node.say("no run today")
        return
    states = today.states
    if failed := states.get("failed", 0):
        node.say(f"{count(failed)} failed", BAD if today.last_state == "failed" else WARN)
        node.page = f"/dags/{dag.dag_id}/runs/{today.failed_run}" if today.failed_run else node.page
    if active := states.get("running", 0) + states.get("queued", 0):
        node.say(f"{count(active)} running")
    if done := states.get("success", 0):
        node.say(f"{count(done)} done", GOOD)


def _say_delivery(conn: Connection, node: Node, flow: str, stage: str, broken: int) -> None:
    """The newest delivery that was read, and what of the flow's rows waits in quarantine."""
    heads, commits = tables.heads, tables.commits
    newest = (
        select(heads.c.partition, commits.c.facts).join(commits, commits.c.id == heads.c.commit_id)
        .where(heads.c.flow == flow, heads.c.stage == stage, heads.c.map_index == -1)
        .order_by(heads.c.partition.desc()).limit(1)
    )  # fmt: skip
    row = conn.execute(newest).first()
    if row is None:
        node.say("nothing read yet")
    else:
        node.say(f"{plural(int(row.facts.get('rows_in') or 0), 'row')} for {partition(row.partition)}", GOOD)
    if broken:
        node.say(f"{plural(broken, 'rule')} broken", WARN)


def _say_effects(node: Node, states: Mapping[str, int]) -> None:
    """What of a flow's effects is not done; `sent` needs nobody."""
    for state, number in states.items():
        bad = BAD if state not in (PENDING, SENDING) else ""
        node.say(f"{count(number)} {'in doubt' if state == 'unknown' else state}", bad)
    if not states:
        node.say("nothing waits", GOOD)


def _say_model(conn: Connection, node: Node, model: str) -> None:
    """Its champion and its newest window that counts."""
    windows, champions = tables.drift_windows, moves(model)
    node.say(f"version {champions[-1]['version']}" if champions else "no champion yet", "" if champions else WARN)
    window = first_row(conn, windows, windows.c.partition.desc(), windows.c.judged_at.desc(), model=model)
    if window is not None and champions and window["version"] != champions[-1]["version"]:
        node.say("no window of it judged yet")  # what the former champion's said is no word on this one
    elif window is not None:
        verdict = {"drifted": WARN, "stable": GOOD}.get(window["verdict"], "")
        node.say(window["verdict"].replace("_", " "), verdict)
        if (window["performance"] or {}).get("status") == "dropped":
            node.say("metric fell", BAD)


def _waiting(conn: Connection) -> dict[tuple[str, str], dict[str, int]]:
    """Effects that are not done, by flow and kind, then state."""
    table = tables.outbox
    query = select(table.c.flow, table.c.kind, table.c.state, func.count()).where(table.c.state.in_(OPEN))
    found: dict[tuple[str, str], dict[str, int]] = {}
    for flow, kind, state, number in conn.execute(query.group_by(table.c.flow, table.c.kind, table.c.state)):
        found.setdefault((flow, kind), {})[state] = int(number)
    return found


def _open(conn: Connection, table: Any) -> dict[str, int]:
    """Open rows of a table by flow."""
    query = select(table.c.flow, func.count()).where(table.c.status == "open").group_by(table.c.flow)
    return {str(flow): int(number) for flow, number in conn.execute(query)}

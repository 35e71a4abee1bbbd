"""What is wrong in playbooks, by file and line: beyond each field what only shows when a playbook is walked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from baton.packs.spec_file import Problem, did_you_mean, dotted, read_as
from baton.packs.yaml_marks import Loc, Marked
from baton.specs.actions import ActionSpec, ActionsSpec
from baton_packs.incident_response.playbooks.spec import ActionStep, ParallelStep, PlaybookSpec, following, read

UNKNOWN = "unknown"
_END = "end"


def check(folder: Path) -> Iterator[Problem]:
    """Mistakes in the playbooks of a pack's folder.

    Args:
        folder: of the pack; its `actions.yaml` says which actions there are.
    """
    actions = _actions(folder)
    seen: dict[str, Path] = {}
    paths = sorted((folder / "playbooks").glob("*.yaml"))
    for path in paths:
        one, marked, problems = read(path)
        yield from problems
        if one is None:
            continue
        if one.name != path.stem:
            yield _at(path, marked, ("name",), f"`{one.name}` is in the file {path.name}", f"name: {path.stem}")
        if one.id in seen:
            yield _at(
                path, marked, ("id",), f"`{one.id}` is also the id of {seen[one.id].name}; every playbook has its own"
            )
        seen.setdefault(one.id, path)
        yield from problems_of(one, path, marked, actions)
    if paths and not any(path.stem == UNKNOWN for path in paths):
        yield Problem(
            str(folder / "playbooks"), 1, "", "there is no unknown.yaml: what fits no playbook would have none"
        )


def _actions(folder: Path) -> Mapping[str, ActionSpec] | None:
    """Declared actions; None where their file cannot be read, which is said of that file itself."""
    path = folder / "actions.yaml"
    spec, _, problems = read_as(ActionsSpec, path) if path.is_file() else (None, None, [])
    return spec.actions if spec is not None and not problems else None


def problems_of(
    one: PlaybookSpec, path: Path, marked: Marked, actions: Mapping[str, ActionSpec] | None
) -> Iterator[Problem]:
    """Mistakes of one playbook whose fields are right each for itself.

    Args:
        actions: None: names of actions are not checked.
    """
    for name, step in one.workflow.items():
        for field, other in following(step):
            if other not in one.workflow:
                hint = did_you_mean(other, one.workflow)
                yield _at(path, marked, ("workflow", name, field), f"no step `{other}`{hint}", ", ".join(one.workflow))
    if actions is not None:
        for name, action in one.actions().items():
            yield from _action_problems(name, action, path, marked, actions)
    start = one.workflow.get(one.workflow_start)
    if start is None or start.type != "start":
        starts = [name for name, step in one.workflow.items() if step.type == "start"]
        yield _at(
            path, marked, ("workflow_start",), f"`{one.workflow_start}` is no step of type start", ", ".join(starts)
        )
        return
    if not any(step.type == _END for step in one.workflow.values()):
        yield _at(path, marked, ("workflow",), "there is no step of type end: no way through it comes to an end")
    yield from _graph_problems(one, path, marked)


def _action_problems(
    name: str, step: ActionStep, path: Path, marked: Marked, actions: Mapping[str, ActionSpec]
) -> Iterator[Problem]:  # fmt: skip
    found = actions.get(step.action)
    if found is None:
        place: Loc = ("workflow", name, "commands", 0, "command")
        yield _at(
            path, marked, place, f"no action `{step.action}`{did_you_mean(step.action, actions)}", ", ".join(actions)
        )
    elif step.undo != found.undo:
        said = (
            f"`{step.undo}` does not take `{step.action}` back" if step.undo else f"`{step.action}` can be taken back"
        )
        yield _at(path, marked, ("workflow", name, "undo"), said, found.undo or "null")


def _graph_problems(one: PlaybookSpec, path: Path, marked: Marked) -> Iterator[Problem]:
    after = {
        name: [other for _, other in following(step) if other in one.workflow] for name, step in one.workflow.items()
    }
    reached, stack = {one.workflow_start}, [one.workflow_start]
    while stack:
        for other in after[stack.pop()]:
            if other not in reached:
                reached.add(other)
                stack.append(other)
    for name in one.workflow:
        if name not in reached:
            yield _at(
                path,
                marked,
                ("workflow", name),
                "cannot be reached from the start: remove it, or let a step lead to it",
            )
    if cycle := _cycle(after, one.workflow_start):
        yield _at(
            path, marked, ("workflow", cycle[0]), f"goes round in a circle: {' -> '.join(cycle)}; a playbook ends"
        )
    for name, step in one.workflow.items():
        if isinstance(step, ParallelStep) and len(set(step.next_steps)) < len(step.next_steps):
            yield _at(path, marked, ("workflow", name, "next_steps"), "names a step twice")


def _cycle(after: Mapping[str, list[str]], start: str) -> list[str]:
    """The steps of a circle, the first one again at its end; [] for none."""
    done: set[str] = set()
    way: list[str] = []

    def walk(name: str) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        for other in after[name]:
            if found := walk(other):
                return found
        way.pop()
        done.add(name)
        return []

    return walk(start)


def _at(path: Path, marked: Marked, loc: Loc, message: str, allowed: str = "") -> Problem:
    return Problem(str(path), marked.line(loc), dotted(loc), message, allowed)

"""What holds for every command: help for people, JSON for programs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from baton.cli.app import app
from baton.stages.journal import Journal

WRITERS = ("table(", "_show(", "print(problem", "for one in found")  # how the commands write tables and lists


def commands(command: Any = None, name: str = "baton") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    for word, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [
        f"{name} {one.name}" for name, command in commands() for one in command.params if not getattr(one, "help", "")
    ]
    assert silent == []
    assert [name for name, command in commands() if not command.help] == []


def test_what_prints_a_table_or_a_list_can_print_json() -> None:
    for name, command in commands():
        if not command.callback.__module__.startswith("baton.cli"):
            continue  # a demo's story is for people
        source = inspect.getsource(inspect.unwrap(command.callback))
        if any(writer in source for writer in WRITERS):
            assert "json" in {one.name for one in command.params}, f"{name} prints a table and has no --json"


@pytest.mark.parametrize("words", [["doctor"], ["gc"], ["lint"], ["ledger", "show"], ["quarantine", "list"]])
def test_json_is_one_object_a_line(words: list[str], home: Path) -> None:
    from baton.record import warehouse

    warehouse.migrate()
    done = CliRunner().invoke(app, [*words, "--json"])
    assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())
    if words == ["gc"]:
        assert json.loads(done.stdout) == {"dry_run": False, "bytes": 0, "objects": [], "lookups": 0}
    warehouse.engine().dispose()


def test_a_journal_of_a_dead_run_is_named_and_goes(home: Path) -> None:
    from baton.record import warehouse

    warehouse.migrate()
    journal = Journal("flow/stage/2026-01-01T00:00:00/-1", {})
    journal.put(journal.key("a"), {"x": 1})
    said = CliRunner().invoke(app, ["gc", "--older-than", "0"]).stdout
    assert "journal" in said
    assert said.endswith("1 object, 0.0 MB removed\n")
    assert journal.get(journal.key("a")) is None
    warehouse.engine().dispose()

"""README and the documentation say what is so: their code loads, their commands parse, their links lead somewhere.

What the how-to pages tell a reader to do is done in `test_how_to.py`.
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from baton.cli.app import app

PAGES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("pages.py")))
ROOT, DOCS, blocks = PAGES["ROOT"], PAGES["DOCS"], PAGES["blocks"]
CODE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "include").rglob("*.py"))
EVERY = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES["pages"]()]


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    """The module that writes the generated pages."""
    return runpy.run_path(str(DOCS / "generate.py"))


def inline(text: str) -> list[str]:
    """Code inside sentences."""
    prose = re.sub(r"(?ms)^ *```.*?^ *```$", "", text)
    return re.findall(r"`([^`\n]+)`", prose)


def lines_of(text: str, word: str) -> Iterator[str]:
    """Command lines that begin with a word, out of the blocks of a page."""
    for block in blocks(text):
        if not block.title and block.language in ("", "sh", "console"):
            yield from (line for line in PAGES["commands"](block) if line.split()[0] == word)


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and its arguments."""
    found: click.Command = typer.main.get_command(app)
    while words and isinstance(found, click.Group):
        sub = found.get_command(click.Context(found), words[0])
        assert sub is not None, f"`baton` has no {words[0]}"
        found, words = sub, words[1:]
    return found, words


# --- code ---


@pytest.mark.parametrize("page", EVERY)
def test_python_blocks_are_python_and_dags_load(page: Path, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language != "python":
            continue
        tree = ast.parse(block.text, f"{page.name}:{block.line}")
        calls = [getattr(node.func, "id", "") for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if (
            not {"Flow", "DAG"} & set(calls) or page.parent.name == "how-to"
        ):  # those run with their pack: test_how_to.py
            continue
        path = tmp_path / f"airflow_dag_{block.line}.py"
        path.write_text(block.text, encoding="utf-8")
        bag = DagBag(str(path))
        assert not bag.import_errors, f"{page.name}:{block.line}: {bag.import_errors}"
        assert bag.dag_ids, f"{page.name}:{block.line}: no DAG"


@pytest.mark.parametrize("page", EVERY)
def test_commands_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in lines_of(text, "baton"):
        words = shlex.split(re.sub(r"\s[|>&].*", "", line))[1:]
        try:
            command, arguments = command_of(words)
            command.make_context("baton", list(arguments))
        except click.exceptions.NoArgsIsHelpError:
            pytest.fail(f"{page.name}: `{line}` lacks a command")
        except click.exceptions.ClickException as error:
            pytest.fail(f"{page.name}: `{line}`: {error.format_message()}")
    for code in inline(text):
        if code.startswith("baton "):
            command_of([word for word in code.split()[1:] if re.fullmatch(r"[a-z]+", word)][:2])


@pytest.mark.parametrize("page", EVERY)
def test_make_verbs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    said = [*lines_of(text, "make"), *(code for code in inline(text) if code.startswith("make "))]
    for line in said:
        verbs = [word for word in line.partition(" #")[0].split()[1:] if "=" not in word]
        assert set(verbs) <= targets, f"{page.name}: `{line}`"


@pytest.mark.parametrize("page", EVERY)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for place in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path = place.partition("#")[0]
        if path and "://" not in path:
            assert (page.parent / path).exists(), f"{page.name}: {place}"


@pytest.mark.parametrize("page", EVERY)
def test_variables_exist(page: Path) -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for path in [*ROOT.glob("tests/bench/*.py"), ROOT / "docker-compose.yml"]
    )
    from baton.settings import Settings

    known = {f"BATON_{name.upper()}" for name in Settings.model_fields} | set(re.findall(r"BATON_[A-Z_]+", code))
    named = set(re.findall(r"\bBATON_[A-Z][A-Z_]+\b", page.read_text(encoding="utf-8")))
    assert named <= known, page.name


@pytest.mark.parametrize("page", EVERY)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = {block.title for block in blocks(text)}
    for path in re.findall(r"`((?:include|dags|tests|plugins|mlflow)/[\w./-]+)`", text):
        assert path in written or (ROOT / path).exists() or "deviation" in path, f"{page.name}: {path}"
    for module in re.findall(r"`(baton(?:_packs)?(?:\.[a-z_]+)+)(?::\w+)?`", text):
        parent = find_spec(module.rpartition(".")[0])
        named = parent is not None and hasattr(import_module(parent.name), module.rpartition(".")[2])
        tag = f'"{module}"' in CODE  # of a version in MLflow
        assert named or tag or find_spec(module) is not None, f"{page.name}: {module}"


# --- what is generated, and what quotes the code ---


def test_generated_pages_are_as_the_code_says(generated: dict[str, Any]) -> None:
    for path, text in generated["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)} is old: run `make docs`"


def test_every_dag_is_in_the_reference(generated: dict[str, Any]) -> None:
    page = (DOCS / "reference" / "dags.md").read_text(encoding="utf-8")
    every = generated["dags"]()
    assert len(every) == len(re.findall(r"(?m)^## ", page)) > 20
    assert all(f"\n## {dag_id}\n" in page for dag_id in every)


def test_messages_that_troubleshooting_names_are_those_of_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "include").rglob("*.py")))
    rows = re.findall(r"(?m)^\| (.+?) \| .+ \| .+ \|$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"))
    messages = [message for row in rows for message in re.findall(r"`((?:[^`]|``)+)`(?!`)", row)]
    assert len(messages) >= 40
    for message in messages:
        parts = [part.strip() for part in message.replace("``", "`").split("...")]
        missing = [part for part in parts if part and not part.startswith("baton ") and part not in code]
        assert not missing, f"{message!r}: the code does not say {missing}"


def test_the_site_lists_every_page() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "include" / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}

"""governance.yaml: what holds for an asset, which mistakes are named where, and who is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from baton.authoring.files import govern
from baton.authoring.lint import lint
from baton.errors import RegistryRefused, SpecError
from baton.governance import assets, consume
from baton.governance.assets import every, find, in_pack, place, votes_needed
from baton.packs.pack import load_pack, packs, read_pack
from baton.record import warehouse
from baton.specs.governance import VOTES

DEFAULT = "default: {owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01}\n"


def written(folder: Path, text: str) -> Path:
    (folder / "sources.yaml").write_text(
        "rows: {kind: file, description: rows, path: '{landing}/{partition}.csv', step: 1d}\n"
    )
    (folder / "governance.yaml").write_text(text)
    return folder


def test_what_an_asset_does_not_say_is_the_defaults(tmp_path: Path) -> None:
    pack = read_pack("shop", written(tmp_path, DEFAULT + "source:\n  rows: {impact: high, deputy: eve}\n"))
    terms = assets.terms_of(pack, "source", "rows")
    assert (terms.owner, terms.deputy, terms.impact, terms.votes) == ("ann", "eve", "high", 2)
    assert (assets.terms_of(pack, "contract", "any").votes, terms.consumers, terms.review.isoformat()) == (
        1,
        (),
        "2030-01-01",
    )


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("default: {owner: ann, impact: low}\n", 1, "default", "deputy, intended_use, review is missing"),
        (
            DEFAULT + "source:\n  rows: {impact: medium, votes: 1}\n",
            3,
            "source.rows",
            "1 is fewer than impact medium asks for, which is 2",
        ),
        (DEFAULT + "source:\n  rows:\n    deputy: ann\n", 3, "source.rows", "owner and deputy are both `ann`"),
        (DEFAULT + "source:\n  row: {impact: low}\n", 3, "source.row", "no source `row`, did you mean `rows`?"),
        (DEFAULT + "rules:\n  policy/limits: {votes: 0}\n", 3, "rules.policy/limits.votes", ""),
        (DEFAULT + "rules:\n  policy/limits: {votes: 2}\n", 3, "rules.policy/limits", "no rules `policy/limits`"),
        (DEFAULT.replace("2030-01-01", "soon"), 1, "default.review", "should be a date"),
        ("source:\n  rows: {owner: ann}\n", 2, "source.rows", "missing, here and in `default`"),
        ("contract:\n  any: " + DEFAULT.removeprefix("default: "), 1, "", "nobody answers for source:rows"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, field: str, words: str) -> None:
    found = [one for one in lint([written(tmp_path, text)]) if one.file.endswith("governance.yaml")]
    assert any((one.line, one.field) == (line, field) and words in one.message for one in found), found


def test_a_pack_without_the_file_is_told_what_to_write(tmp_path: Path) -> None:
    folder = written(tmp_path, "")
    (folder / "governance.yaml").unlink()
    assert [one.message for one in lint([folder])] == [
        "is not there: nobody answers for what the pack has, so nothing may use it"
    ]
    with pytest.raises(SpecError, match="so nobody answers for source:rows: write it"):
        assets.terms_of(read_pack("shop", folder), "source", "rows")


def test_every_asset_that_ships_has_somebody_who_answers_and_its_votes() -> None:
    shipped = every()
    assert {one.pack for one in shipped} == set(packs())
    assert len(shipped) == len({one.id for one in shipped})
    assert len(shipped) == sum(len(names) for name in packs() for names in in_pack(load_pack(name)).values())
    assert all(one.terms.votes >= VOTES[one.terms.impact] and find(one.id) == one for one in shipped)
    assert (votes_needed("model:card_fraud"), votes_needed("flow:transaction_labels")) == (2, 1)


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("model:card_frud", "did you mean `card_fraud`"),
        ("contract:decisions", "Name it as contract:financial_crime/decisions"),
        ("card_fraud", "write KIND:NAME"),
        ("flow:nowhere", "named in the governance.yaml of its pack"),
    ],
)
def test_an_asset_that_is_not_there_needs_no_votes_but_an_answer(asset: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        votes_needed(asset)


def test_a_foreign_flow_is_told_whom_to_ask_and_where_it_is_written(home: Path) -> None:
    warehouse.migrate()
    for consumer in ("transaction_monitoring", "card_fraud_train", "card_fraud_promote", "card_fraud_monitor"):
        consume.require_consumer("card_fraud", consumer)
    with pytest.raises(RegistryRefused, match="its owner op ") as refused:
        consume.require_consumer("card_fraud", "replenishment")
    file, line = place(find("model:card_fraud"), "consumers").rsplit(":", 1)
    assert f"{file}:{line}" in str(refused.value)
    assert "consumers: [transaction_monitoring]" in Path(file).read_text().splitlines()[int(line) - 1]
    for model, consumer in [("nobodys", "replenishment"), ("card_fraud", "card_fraud_score"), ("card_fraud", "")]:
        with pytest.raises(RegistryRefused, match=f"may not use model {model}"):
            consume.require_consumer(model, consumer)


def test_scaffolding_names_what_it_writes_and_lets_the_flow_use_its_models(tmp_path: Path) -> None:
    path = tmp_path / "governance.yaml"
    assert govern(tmp_path, "shop", "model", "late", "intended_use: Say what is late, consumers: []") == [path]
    assert govern(tmp_path, "shop", "flow", "orders", "intended_use: Decide") == [path]
    for flow in ("orders", "again", "again"):
        govern(tmp_path, "shop", "model", "late", "intended_use: other", flow)
    govern(tmp_path, "shop", "model", "odd", "intended_use: Say what is odd", "orders")
    spec = read_pack("shop", tmp_path).governance
    assert spec is not None
    assert spec.terms("model", "late").consumers == ("orders", "again")  # type: ignore[union-attr]
    assert spec.terms("model", "odd").consumers == ("orders",)  # type: ignore[union-attr]
    assert list(spec.flow) == ["orders"]


def test_files_that_would_stop_the_pack_are_found_before(tmp_path: Path) -> None:
    folder = written(tmp_path, DEFAULT)
    for name, text in [
        ("policy/a.yaml", b"a: [1\n"),
        ("policy/b.yaml", b"a: 1\n"),
        ("policy/b.yml", b"a: 1\n"),
        ("prompts/logo.png", b"\x89PNG\xff"),
    ]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text)
    found = {
        Path(one.file).relative_to(folder).as_posix(): one.message for one in lint([folder]) if "stops" in one.message
    }
    assert set(found) == {"policy/a.yaml", "policy/b", "prompts/logo.png"}
    assert "cannot be read, so nobody can agree to it" in found["policy/a.yaml"]
    assert "b.yaml and b.yml have the name: rename one" in found["policy/b"]
    assert "codec can't decode" in found["prompts/logo.png"]

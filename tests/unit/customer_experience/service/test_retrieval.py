"""Knowledge base and retrieval: mistakes in the YAML are named; the right entry is found; the score is a confidence."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from baton.errors import SourceError
from baton_packs.customer_experience.service import retrieval
from baton_packs.customer_experience.service.knowledge import Team, entries, intents, load_entries, load_intents
from baton_packs.customer_experience.service.search_index import Bm25

INTENTS = "change_pin: {team: cards, regulated: false, priority: 3}\nage_limit: {team: accounts, regulated: true, priority: 2}\n"
ENTRY = "- id: {0}\n  intent: {1}\n  title: About {0}\n  answer: This is the answer to the question.\n"


class Letters:
    """An encoder of runs of three letters: like texts get like vectors, without the packaged model."""

    sha256, size = "0" * 64, 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, text in enumerate(texts):
            for at in range(len(text) - 2):
                found[row, zlib.crc32(text[at : at + 3].lower().encode()) % self.size] += 1
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(retrieval, "packaged_encoder", Letters)
    retrieval._bare.cache_clear()
    yield
    retrieval._bare.cache_clear()


def asked(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"message_id": [f"m{i}" for i in range(len(texts))], "text": texts})


def said(messages: pd.DataFrame, *reasons: list[tuple[str, float]], accepted: bool = True) -> pd.DataFrame:
    listed = [json.dumps(one) for one in reasons] or ["[]"] * len(messages)
    return pd.DataFrame({"entity_key": messages["message_id"], "accepted": accepted, "reasons": listed})


def test_the_packs_own_content_is_whole() -> None:
    assert len(intents()) == 77
    assert {one.team for one in intents().values()} == set(get_args(Team))
    assert 10 <= sum(one.regulated for one in intents().values()) <= 25
    assert sum(entry.intent is None for entry in entries()) == 8
    assert {entry.intent for entry in entries()} - {None} == set(intents())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.format("pin", "change_pin"), "no entry answers age_limit"),
        (ENTRY.format("pin", "chnge_pin"), r"cards.yaml:1: pin: intent 'chnge_pin' is not in the routing table"),
        (ENTRY.format("pin", "change_pin") + ENTRY.format("pin", "age_limit"), r"cards.yaml:5: pin: this id is taken"),
        (ENTRY.format("pin", "change_pin") + ENTRY.format("two", "change_pin"), r"two: change_pin is answered by pin"),
        ("- id: pin\n  title: About\n  answer: too short\n", r"cards.yaml:3: pin: answer: .*at least 20"),
        ("- id: pin\n  answr: x\n", r"cards.yaml:2: pin: answr: unknown field, did you mean `answer`"),
        ("- just words\n", r"cards.yaml:1: entry 1: "),
        ("pin: 1\n", "must be a list"),
        ("- id: [\n", r"cards.yaml:\d+: not YAML"),
    ],
)
def test_a_mistake_in_the_knowledge_base_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "intents.yaml").write_text(INTENTS)
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "cards.yaml").write_text(text)
    with pytest.raises(SourceError, match=message):
        load_entries(folder, load_intents(tmp_path / "intents.yaml"))


def test_a_mistake_in_the_routing_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "intents.yaml"
    path.write_text(INTENTS + "exchange_rate: {team: money, regulated: no, priority: 4}\n")
    with pytest.raises(SourceError, match=r"intents.yaml:3: exchange_rate: team.*\n.*:3: exchange_rate: priority"):
        load_intents(path)


def test_bm25_prefers_rare_terms_and_reaches_one_at_most() -> None:
    bm25 = Bm25(["the card and the bank", "the transfer and the bank", "the cheque"], (1, 1))
    found = bm25.share(["the cheque", "card bank", "12345", ""])
    assert found.argmax(axis=1)[:2].tolist() == [2, 0]
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    assert not found[2:].any()


def test_the_three_signs_find_an_entry_and_the_order_of_the_messages_stays() -> None:
    messages = asked("changing the PIN of a card", "something else entirely", "opening hours of the support")
    found = retrieval.retrieve(messages, said(messages, [], [("age_limit", 0.97)], []).iloc[::-1])
    assert found["message_id"].tolist() == ["m0", "m1", "m2"]
    assert found["best"].tolist() == ["change-pin", "age-limit", "opening-hours"]
    first = json.loads(found["entries"][1])
    assert [set(one) for one in first] == [{"entry", "title", "score"}] * 3
    assert first[0]["score"] == round(found["best_score"][1], 4)
    assert found["answer"][0].startswith("You change the PIN at a cash machine")
    assert list(retrieval.retrieve(messages.head(0), said(messages).head(0))) == retrieval.COLUMNS


def test_the_score_is_low_for_what_no_entry_answers_and_where_two_are_equally_likely() -> None:
    messages = asked("changing the PIN", "changing the PIN", "qzx wvk", "")
    sure = [("change_pin", 0.99)], [("change_pin", 0.5), ("pin_blocked", 0.48)], [], []
    found = retrieval.retrieve(messages, said(messages, *sure))["best_score"]
    assert found[0] > 0.8
    assert found[2] + 0.1 < found[1] < found[0] - 0.1
    assert found[2:].max() < 0.05
    unsure = retrieval.retrieve(messages, said(messages, *sure, accepted=False))["best_score"]
    assert unsure[0] < found[0]  # what the model did not accept does not count


def test_what_people_confirmed_makes_new_words_findable() -> None:
    messages = asked("my orbit pattern is too plain, redraw it")
    words = [
        "redraw my orbit pattern",
        "the orbit pattern is plain",
        "how to redraw the pattern",
        "a new orbit pattern",
    ]
    history = pd.DataFrame({"text": [*words, "good morning"], "intent": ["change_pin"] * 4 + [""]})
    before = retrieval.retrieve(messages, said(messages))
    after = retrieval.retrieve(messages, said(messages), history)
    assert before["best"][0] != "change-pin"
    assert after["best"][0] == "change-pin"
    many = pd.DataFrame({"text": [f"text {i // 2}" for i in range(200)], "intent": "age_limit"})
    assert retrieval.examples(many, 5) == {"age_limit": [f"text {i}" for i in range(95, 100)]}


def test_what_is_missing_is_said() -> None:
    messages = asked("a", "b")
    with pytest.raises(SourceError, match="says nothing of 1 messages"):
        retrieval.retrieve(messages, said(messages).head(1))
    with pytest.raises(SourceError, match="of 1 messages more than once"):
        retrieval.retrieve(messages, pd.concat([said(messages), said(messages).head(1)]))
    with pytest.raises(SourceError, match="intents has no column reasons"):
        retrieval.retrieve(messages, said(messages).drop(columns="reasons"))

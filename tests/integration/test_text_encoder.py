"""The packaged sentence encoder, as it comes out of its package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from baton.families.text.features import encoder
from baton.families.text.features.encoder import MODEL, TOKENIZER, MiniLM


@pytest.fixture(scope="module")
def minilm(packaged_files: Path) -> MiniLM:
    return MiniLM(packaged_files / MODEL, packaged_files / TOKENIZER)


def test_a_vector_has_length_one_and_does_not_depend_on_its_batch(minilm, packaged_files, monkeypatch):
    texts = [
        "Where is my parcel?",
        "",
        "The parcel has not come yet.",
        "I need a new password " * 90,
        "Where is my parcel?",
    ]
    vectors = minilm.encode(texts)
    assert vectors.shape == (5, minilm.size)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1, 1], atol=1e-5)
    monkeypatch.setattr(encoder, "BATCH_TOKENS", 1)
    alone = MiniLM(packaged_files / MODEL, packaged_files / TOKENIZER).encode(texts[:3])
    np.testing.assert_allclose(alone, vectors[:3], atol=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[3]
    assert minilm.encode([]).shape == (0, minilm.size)


def test_vectors_are_kept_within_bounds_and_broken_text_is_read(minilm, packaged_files, monkeypatch):
    class Counting(onnxruntime.InferenceSession):
        def run(self, names, inputs, options=None):
            (vectors,) = super().run(names, inputs, options)
            made.append(len(vectors))
            return [vectors]

    made = []
    monkeypatch.setattr(encoder, "KEPT", 3)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Counting)
    fresh = MiniLM(packaged_files / MODEL, packaged_files / TOKENIZER)
    for letters, computed in (("abcdef", 6), ("def", 0), ("cdef", 1)):
        made.clear()
        fresh.encode([f"text {letter}" for letter in letters])
        assert sum(made) == computed
    assert np.isfinite(minilm.encode(["half a pair \ud83d"])).all()

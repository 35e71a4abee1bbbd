"""The sentence encoder: a text becomes a vector of length 1 whose direction says what it is about.

MiniLM-L6 (int8, ONNX Runtime on the CPU), the mean over a text's tokens. The files are packaged ones (`baton.packs.packaged`);
a saved model names them by their hash and never holds a copy. A text's vector does not depend on its neighbours in a
batch, so equal texts get equal vectors.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from baton.errors import ModelError
from baton.families.base import threads
from baton.packs.downloads import file_sha256
from baton.packs.packaged import packaged
from baton.progress import tell
from baton.specs.text import ENCODER

MODEL, TOKENIZER = ENCODER
MAX_TOKENS = 256  # what follows in a longer text is not seen
BATCH_TOKENS = 4096  # tokens with padding in a batch; larger ones only cost memory
KEPT = 32_768  # vectors kept in a process, 1.5 kB each: folds, fit and reference ask for the same texts


class Encoder(Protocol):
    """Texts to vectors."""

    sha256: str
    size: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1 (0 for an empty text), float32 of shape (texts, size)."""


class MiniLM:
    """The packaged encoder; a text's vector is kept under the text's hash, the oldest goes first."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        """Open the two files."""
        import onnxruntime
        from tokenizers import Tokenizer

        self.sha256 = hashlib.sha256(f"{file_sha256(model)} {file_sha256(tokenizer)}".encode()).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._kept: dict[bytes, np.ndarray] = {}
        self.size = int(self._session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `Encoder`; texts of like length share a batch, since padding costs as much as text."""
        keys = [key_of(text) for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept}
        found = {key: self._kept[key] for key in set(keys) - fresh.keys()}
        found |= dict(zip(fresh, self._run([_plain(text) for text in fresh.values()]), strict=True))
        for key in fresh:
            self._kept[key] = found[key]
        for key in list(self._kept)[: max(0, len(self._kept) - KEPT)]:
            del self._kept[key]
        return np.stack([found[key] for key in keys]) if keys else np.zeros((0, self.size), np.float32)

    def _run(self, texts: list[str]) -> np.ndarray:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))
        vectors = np.zeros((len(tokens), self.size), dtype=np.float32)
        start = 0
        tell("texts encoded", "texts", 0, len(order))
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * len(tokens[order[end]]) <= BATCH_TOKENS:
                end += 1
            part = order[start:end]
            vectors[part] = self._batch([tokens[at] for at in part])
            start = end
            tell("texts encoded", "texts", start, len(order))
        return vectors

    def _batch(self, tokens: list[list[int]]) -> np.ndarray:
        ids = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
        mask = (np.arange(ids.shape[1]) < np.array([len(one) for one in tokens])[:, None]).astype(np.int64)
        asked = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, asked)[0]
        mean = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        inside = mask.sum(axis=1, keepdims=True) > 2  # only the two marks of begin and end: an empty text
        length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return np.asarray(np.where(inside, mean / length, 0.0), dtype=np.float32)


class Prepared:
    """Vectors that an earlier stage made; other texts go to the encoder that made them."""

    def __init__(self, sha256: str, keys: Sequence[bytes], vectors: np.ndarray, encoder: Encoder | None) -> None:
        """Take vectors, shape (n, size), of the texts with these keys; without an encoder the packaged one is opened."""
        self.sha256, self.size, self._vectors, self._encoder = sha256, int(vectors.shape[1]), vectors, encoder
        self._place = {key: at for at, key in enumerate(keys)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `Encoder`. Raises ModelError: a text is new, and the encoder is another one."""
        at = np.array([self._place.get(key_of(text), -1) for text in texts], dtype=int)
        found = self._vectors[at]
        if new := np.flatnonzero(at < 0).tolist():
            encoder = require(self._encoder or packaged_encoder(), self.sha256, "what the stage before prepared")
            found[new] = encoder.encode([texts[one] for one in new])
        return found


def key_of(text: str) -> bytes:
    """What stands for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _plain(text: str) -> str:
    """Half of a surrogate pair, which a broken mail may hold, is no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def packaged_encoder() -> Encoder:
    """The packaged encoder, opened once in a process. Raises SourceError: its files were not fetched yet; says how."""
    return MiniLM(packaged(MODEL), packaged(TOKENIZER))


def require(encoder: Encoder, sha256: str, what: str) -> Encoder:
    """The encoder, if it is the one that `what` was made with.

    Raises:
        ModelError: it is another one, whose vectors mean something else.
    """
    if encoder.sha256 != sha256:
        raise ModelError(
            f"{what} was made with the sentence encoder {sha256[:12]}, here is {encoder.sha256[:12]}; "
            "train the model again, or install the version of Baton that it was trained with"
        )
    return encoder

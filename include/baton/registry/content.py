"""The content of a model folder: every file must positively be one of a few formats that carry no code.

Checked on bytes, by name and content, before MLflow, skops or LightGBM sees the folder. The list says what is
allowed; everything else (pickles under any name, archives, scripts, foreign flavours) is refused without
having to be recognised. Where a well-known danger is recognised, the reason names it.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Any

from baton.errors import RegistryRefused
from baton.registry.identity import Identity

MAX_TEXT_BYTES = 512 * 1024**2
MAX_SMALL_BYTES = 1024**2
MAX_HEADER_BYTES = 4096  # of an array; numpy pads that of an ordinary one to 128
MAX_UNPACKED_BYTES = 2 * 1024**3

# a pickle runs code when read; so do the containers that joblib, numpy and torch put one into
_DANGERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x80[\x00-\x05]"), "pickle"),
    (re.compile(rb"c[\w.]+\n[\w.]+\n|\(dp?\d*\n?|\(lp?\d*\n?|\(c[\w.]+\n"), "pickle (text protocol)"),
    (re.compile(rb"\x1f\x8b"), "gzip archive"),
    (re.compile(rb"BZh"), "bzip2 archive"),
    (re.compile(rb"\xfd7zXZ"), "xz archive"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zstd archive"),
    (re.compile(rb"\x78[\x01\x5e\x9c\xda]"), "zlib stream, as joblib writes pickles"),
    (re.compile(rb"PK\x03\x04"), "zip archive"),
    (re.compile(rb"\x93NUMPY"), "numpy array, which may carry a pickle"),
    (re.compile(rb"\x7fELF|MZ"), "executable"),
    (re.compile(rb"#!"), "script"),
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_CODE_FOLDERS = {"code", "code_paths", "__pycache__"}

# MLmodel keys that MLflow itself writes for a model without Python code
_MLMODEL_KEYS = {
    "artifact_path", "flavors", "is_signature_from_type_hint", "metadata", "mlflow_version", "model_id",
    "model_size_bytes", "model_uuid", "prompts", "run_id", "saved_input_example_info", "signature",
    "type_hint_from_example", "utc_time_created",
}  # fmt: skip
FLAVOUR = "baton"
_FLAVOUR_KEYS = {"family", "format", "data"}
# each of these names code or a pickle in some MLflow flavour
_FORBIDDEN_KEYS = {
    "loader_module", "code", "code_path", "code_paths", "python_model", "model_code_path", "pickled_model",
    "cloudpickle_version", "model_class", "custom_objects", "serialization_format", "env", "env_vars",
    "artifacts",
}  # fmt: skip

# skops nodes that only rebuild data; those for functions, methods and free constructors are left out
_SKOPS_LOADERS = {
    "BytesNode", "CachedNode", "DTypeNode", "DefaultDictNode", "DictNode", "JsonNode", "ListNode", "LossNode",
    "MaskedArrayNode", "NdArrayNode", "ObjectNode", "RandomGeneratorNode", "RandomStateNode", "SetNode",
    "SliceNode", "SparseMatrixNode", "TreeNode", "TupleNode", "TypeNode",
}  # fmt: skip
_SKOPS_TYPES = re.compile(
    r"builtins\.(bool|bytes|complex|dict|float|int|list|NoneType|set|slice|str|tuple)"
    r"|collections\.(OrderedDict|defaultdict)"
    r"|numpy\.(ndarray|dtype|bool|bool_|str_|bytes_|object_|float\d+|int\d+|uint\d+|datetime64|timedelta64)"
    r"|numpy\.(ma|ma\.core)\.MaskedArray"
    r"|numpy\.random(\.mtrand|\._generator)?\.(RandomState|Generator)"
    r"|scipy\.sparse\._\w+\.\w+_(matrix|array)"
    r"|sklearn\.utils\._bunch\.Bunch"
    r"|sklearn\.tree\._tree\.Tree"
    r"|sklearn\._loss\._loss\.Cy\w+"
    r"|sklearn\._loss\.(link|loss)\.[A-Z]\w+"
    r"|sklearn\.(calibration|compose|covariance|decomposition|ensemble|impute|isotonic|linear_model|mixture|pipeline"
    r"|preprocessing|tree)(\.\w+)*\._?[A-Z]\w*"
)
# an estimator whose fitted state is a free Python function
_SKOPS_REFUSED = {"sklearn.preprocessing._function_transformer.FunctionTransformer"}
_SKOPS_ENTRY = re.compile(r"schema\.json|\d+\.(npy|npz|bin)")


def refuse_names(name: str) -> None:
    """Refuse a relative POSIX path that could leave the folder, hide, or be imported as code.

    Raises:
        RegistryRefused: naming the path.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise RegistryRefused(f"{name!r}: path leaves the model folder")
    for part in parts:
        if not _NAME.fullmatch(part):
            raise RegistryRefused(f"{name!r}: only letters, digits, '_', '-' and '.' are allowed in file names")
    if _CODE_FOLDERS & {part.lower() for part in parts}:
        raise RegistryRefused(f"{name}: a folder of code; a model folder holds data only")


def check_content(folder: Path, names: Iterable[str], identity: Identity) -> None:
    """Check that every file is of an allowed format, and that `MLmodel` is harmless and this model's own.

    Args:
        folder: the model folder.
        names: POSIX paths of all its files but the manifest and its signature.
        identity: the signed identity; `MLmodel` must name the same run and logged model.

    Raises:
        RegistryRefused: naming the file and what is wrong with it.
    """
    present = list(names)
    if "MLmodel" not in present:
        raise RegistryRefused("MLmodel: missing; not an MLflow model folder")
    for name in present:
        refuse_names(name)
        path = folder / name
        check = _FORMATS.get(Path(name).suffix if name != "MLmodel" else "MLmodel")
        danger = _danger(path)
        if check is None:
            allowed = ", ".join(sorted(_FORMATS))
            raise RegistryRefused(
                f"{name}: {danger or 'unknown format'} is not allowed in a model folder; allowed: {allowed}"
            )
        if danger and not (check is _check_skops and danger == "zip archive"):
            raise RegistryRefused(f"{name}: content is a {danger}, whatever the name says")
        check(name, path)
    _check_mlmodel(folder / "MLmodel", identity)


def _danger(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(256)
    return next((reason for pattern, reason in _DANGERS if pattern.match(head)), None)


def _text(name: str, path: Path, limit: int) -> str:
    if path.stat().st_size > limit:
        raise RegistryRefused(f"{name}: larger than {limit} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RegistryRefused(f"{name}: not UTF-8 text") from None
    if "\x00" in text:
        raise RegistryRefused(f"{name}: holds binary data")
    return text


def _check_json(name: str, path: Path) -> None:
    try:
        json.loads(_text(name, path, MAX_TEXT_BYTES))
    except (ValueError, RecursionError) as error:
        raise RegistryRefused(f"{name}: not JSON ({error})") from None


def _check_booster(name: str, path: Path) -> None:
    text = _text(name, path, MAX_TEXT_BYTES)
    if not text.startswith("tree\n") or "\nend of trees\n" not in text:
        raise RegistryRefused(f"{name}: not a LightGBM text model, the only .txt a model folder holds")


def _check_card(name: str, path: Path) -> None:
    _text(name, path, MAX_SMALL_BYTES)


def _check_skops(name: str, path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if "schema.json" not in names or len(names) != len(set(names)):
                raise RegistryRefused(f"{name}: not a skops file (no schema, or an entry twice)")
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise RegistryRefused(f"{name}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            for entry in entries:
                if not _SKOPS_ENTRY.fullmatch(entry.filename):
                    raise RegistryRefused(f"{name}: entry {entry.filename!r} does not belong into a skops file")
                if entry.filename.endswith(".npy"):
                    _check_array(f"{name}:{entry.filename}", archive, entry)
            schema = json.loads(archive.read("schema.json"))
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, RuntimeError, OSError) as error:
        raise RegistryRefused(f"{name}: not a readable skops file ({error})") from None
    _check_types(name, schema)


def _check_array(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read numpy's header whole, wherever it ends: it says what the rest is, and how much memory that takes."""
    from numpy.lib import format as npy

    with archive.open(entry) as stream:
        head = io.BytesIO(stream.read(12 + MAX_HEADER_BYTES))
    try:
        wide = {(1, 0): False, (2, 0): True}[npy.read_magic(head)]
        length = int.from_bytes(head.getvalue()[8 : 12 if wide else 10], "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes, allowed are {MAX_HEADER_BYTES}")
        shape, _, kind = (npy.read_array_header_2_0 if wide else npy.read_array_header_1_0)(head)
        if kind.hasobject:
            raise ValueError("its elements are pickled")
        if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != entry.file_size - head.tell():
            raise ValueError(f"it does not hold the values of its shape {shape}")
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise RegistryRefused(f"{name}: not an array of plain values ({error})") from None


def _check_types(name: str, schema: Any) -> None:
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(value for value in node.values() if isinstance(value, dict | list))
            if {"__loader__", "__class__", "__module__"} & node.keys():
                _check_type(name, node)


def _check_type(name: str, node: dict[str, Any]) -> None:
    loader = node.get("__loader__")
    kind = f"{node.get('__module__')}.{node.get('__class__')}"
    if not isinstance(loader, str) or loader not in _SKOPS_LOADERS:
        raise RegistryRefused(f"{name}: skops node {loader} of {kind} is not trusted")
    if not _SKOPS_TYPES.fullmatch(kind) or kind in _SKOPS_REFUSED:
        raise RegistryRefused(f"{name}: skops type {kind} is not trusted")


def _check_mlmodel_text(name: str, path: Path) -> None:
    _text(name, path, MAX_SMALL_BYTES)


def _check_mlmodel(path: Path, identity: Identity) -> None:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise RegistryRefused(f"MLmodel: not plain YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict) or not isinstance(document.get("flavors"), dict):
        raise RegistryRefused("MLmodel: has no mapping of flavours")
    _refuse_keys(document)
    if foreign := sorted(str(key) for key in document["flavors"] if key != FLAVOUR):
        raise RegistryRefused(f"MLmodel: flavour {foreign[0]!r} is not allowed; allowed: {FLAVOUR}")
    flavour = document["flavors"].get(FLAVOUR)
    if not isinstance(flavour, dict) or flavour.keys() - _FLAVOUR_KEYS:
        raise RegistryRefused(f"MLmodel: flavour {FLAVOUR} may only say {', '.join(sorted(_FLAVOUR_KEYS))}")
    if unknown := sorted(str(key) for key in document if key not in _MLMODEL_KEYS):
        raise RegistryRefused(f"MLmodel: key {unknown[0]!r} is not allowed")
    for key, signed in (("run_id", identity.run_id), ("model_id", identity.logged_model)):
        if document.get(key) != signed:
            raise RegistryRefused(f"MLmodel: {key} {document.get(key)!r} is not the signed {signed!r}")


def _refuse_keys(document: Any) -> None:
    pending: list[tuple[Any, int]] = [(document, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > 10:  # also ends a YAML alias that contains itself
            raise RegistryRefused("MLmodel: nested deeper than any MLflow model")
        if isinstance(node, dict):
            for key, value in node.items():
                if str(key).lower() in _FORBIDDEN_KEYS:
                    raise RegistryRefused(
                        f"MLmodel: {key} = {str(value)[:80]!r} would load code; no loader module is allowed"
                    )
                pending.append((value, depth + 1))
        elif isinstance(node, list):
            pending.extend((value, depth + 1) for value in node)


_FORMATS: dict[str, Callable[[str, Path], None]] = {"MLmodel": _check_mlmodel_text, ".json": _check_json}
_FORMATS |= {".txt": _check_booster, ".skops": _check_skops, ".md": _check_card}

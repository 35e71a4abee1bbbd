#!/usr/bin/env python3
"""Verify a pack of evidence that Baton wrote. Needs Python 3.9 or later and nothing else.

    python verify.py PACK.zip --key KEY [--seen CHECKPOINT] [--witness KEY] [--model FOLDER]

KEY is the file `evidence.pub` (PEM) of the installation, or the SHA-256 of the key in hex, as `baton ledger key` prints
them; have it from the installation's owner by another way than the pack. A key inside the pack is never believed.
Use a copy of this file from a release of Baton or from `baton evidence --verifier`: a forged pack would bring along a
verifier that says yes. Says of each file ok, altered, missing or extra, and of each claim proven, asserted, not covered
or failed. Exit code: 0 all is well, 1 something is not, 2 it cannot be told.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import functools
import hashlib
import json
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from baton.evidence.proofs import (
    Unproven,
    continued,
    cosigned,
    decoded,
    head,
    included,
    leaf,
    opened,
    public_key,
    root_of,
    signed_by,
)

INDEX, MANIFEST, DECISION = "index.dsse.json", "model/manifest.json", "decision.json"
CHECKPOINT, ENTRIES = "ledger/checkpoint", "ledger/entries.jsonl"
PROOF, SEEN = "ledger/proof.json", "ledger/seen.json"
PUBLISHED = ("decisions_published", "predictions_published")  # entries of a partition
STATEMENT, PAYLOAD, PREDICATE = (
    "https://in-toto.io/Statement/v1",
    "application/vnd.in-toto+json",
    "x-baton://evidence/v1",
)
# what the pack of a decision has of an entry that names an entity: by its hash a guess could be tried
WITHHELD = {"seq", "kind"}
MAX_BYTES, MAX_FILES = 512 * 1024 * 1024, 10_000
NAME = re.compile(r"[a-z0-9_][a-z0-9_.\-]*(/[a-z0-9_][a-z0-9_.\-]*)*")
_LOCAL, _CENTRAL, _END = "<4sHHHHHIIIHH", "<4sHHHHHHIIIHHHHHII", "<4sHHHHIIH"
_DAY = 33  # 1980-01-01 as an archive writes it


# --- the archive ---


def archive(files: dict[str, bytes]) -> bytes:
    """The one form of a pack: a ZIP file of stored files, sorted by name, with nothing in it that says when or where."""
    body: list[bytes] = []
    directory: list[bytes] = []
    at = size = 0
    for name in sorted(files):
        content, code = files[name], name.encode()
        shared = (0, 0, 0, _DAY, binascii.crc32(content), len(content), len(content), len(code), 0)
        head = struct.pack(_LOCAL, b"PK\3\4", 20, *shared) + code
        entry = struct.pack(_CENTRAL, b"PK\1\2", 3 << 8 | 20, 20, *shared, 0, 0, 0, 0o100644 << 16, at) + code
        body += [head, content]
        directory.append(entry)
        at, size = at + len(head) + len(content), size + len(entry)
    end = struct.pack(_END, b"PK\5\6", 0, 0, len(files), len(files), size, at, 0)
    return b"".join([*body, *directory, end])


def unpack(data: bytes) -> tuple[dict[str, bytes], str]:
    """Files of a pack by name, in memory, and what is wrong beside their content: empty if nothing.

    Raises:
        Unproven: names the byte from which on it is no pack.
    """
    files: dict[str, bytes] = {}
    at, step, last = 0, struct.calcsize(_LOCAL), ""
    while data[at : at + 4] == b"PK\3\4" and len(data) >= at + step:
        size, length = struct.unpack_from(_LOCAL, data, at)[8:10]
        start = at + step + length
        name = data[at + step : start].decode("ascii", "replace")
        if not NAME.fullmatch(name) or len(name) > 200 or name <= last or len(files) >= MAX_FILES:
            raise Unproven(
                f"archive: damaged at byte {at}, behind {last or 'its start'}: a file's name, order or number"
            )
        if start + size > len(data):
            raise Unproven(f"archive: damaged at byte {at}: {name} is longer than what is there")
        files[name], at, last = data[start : start + size], start + size, name
    whole = archive(files)
    if whole == data:
        return files, ""
    low, high = 0, min(len(whole), len(data))
    while low < high:  # the first byte that differs
        middle = (low + high + 1) // 2
        low, high = (middle, high) if whole[:middle] == data[:middle] else (low, middle - 1)
    return (
        files,
        f"archive: damaged at byte {low}: checksums, sizes or what else is beside the content of its {len(files)} files",
    )


# --- the signed index ---


def envelope(payload: bytes, key: bytes, signature: bytes) -> bytes:
    """A DSSE envelope in its one spelling; the key is named by its SHA-256."""
    signatures = [{"keyid": hashlib.sha256(key).hexdigest(), "sig": base64.b64encode(signature).decode()}]
    made = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD, "signatures": signatures}
    return json.dumps(made, indent=1, sort_keys=True).encode() + b"\n"


def to_sign(payload: bytes) -> bytes:
    """What a DSSE signature is over."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def trusted(given: str, keys: bytes) -> bytes:
    """The key that was given on the command line: a file of it, or its SHA-256, to which a key in the pack must belong."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        return public_key(Path(given).read_text(encoding="ascii"))
    try:
        key = public_key(json.loads(keys)["evidence"])
    except (Unproven, ValueError, KeyError, TypeError, RecursionError):
        raise Unproven(
            "keys.json: altered or missing: no key in it; give the key's file instead of its fingerprint"
        ) from None
    if hashlib.sha256(key).hexdigest() != given.lower():
        raise Unproven(
            f"keys.json: altered, or {INDEX} is signed by another key: it has not the fingerprint that was given"
        )
    return key


def statement(index: bytes, key: bytes) -> dict[str, Any]:
    """The signed statement. Raises Unproven: it was not signed by the key."""
    try:
        given = json.loads(index)
        payload, signature = decoded(given["payload"]), decoded(given["signatures"][0]["sig"])
    except (Unproven, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise Unproven(f"{INDEX}: altered: no DSSE envelope") from None
    if envelope(payload, key, signature) != index:
        raise Unproven(f"{INDEX}: altered, or signed by another key than the trusted one")
    if not signed_by(key, to_sign(payload), signature):
        raise Unproven(f"{INDEX}: altered: its signature is not of the trusted key")
    said: dict[str, Any] = json.loads(payload)
    if said.get("_type") != STATEMENT or said.get("predicateType") != PREDICATE:
        raise Unproven(f"{INDEX}: a statement about something else than a pack of evidence")
    return said


def judged(files: dict[str, bytes], said: dict[str, Any]) -> dict[str, str]:
    """ok, altered, missing or extra, by file."""
    listed = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
    found = {}
    for name in sorted({*listed, *files} - {INDEX}):
        if name not in files or name not in listed:
            found[name] = "extra" if name in files else "missing"
        else:
            found[name] = "ok" if hashlib.sha256(files[name]).hexdigest() == listed[name] else "altered"
    return found


# --- claims ---

PROVEN, ASSERTED, UNCOVERED, FAILED = "proven", "asserted", "not covered", "failed"


# the entries, those withheld, size and root of the ledger
Entries = tuple[list[dict[str, Any]], list[dict[str, Any]], int, bytes]


def _entries(good: dict[str, bytes], about: dict[str, Any], key: bytes) -> Entries:
    """The entries, once each has its hash and all lead to the signed root; those withheld; size and root of the ledger."""
    size, root = head(good[CHECKPOINT].decode(), key)
    if about["ledger"] != {"size": size, "root": root.hex()}:
        raise Unproven(f"{CHECKPOINT}: another one than the index speaks of")
    found = [json.loads(line) for line in good[ENTRIES].splitlines()]
    whole = [one for one in found if set(one) != WITHHELD]
    withheld = [one for one in found if set(one) == WITHHELD]
    needed = {kind for _, kind, _ in about["from_ledger"]}
    for one in withheld:
        if not about["about"].startswith("decision:") or one["kind"] in needed:
            raise Unproven(
                f"{ENTRIES}: entry {one['seq']} (`{one['kind']}`) is withheld, and no such may be in this pack"
            )
        if not 1 <= one["seq"] <= size:
            raise Unproven(f"{ENTRIES}: entry {one['seq']} is withheld, and the ledger has {size}")
    for one in whole:
        text = json.dumps([one.get(name) for name in ("seq", "at", "kind", "subject", "payload", "prev")])
        if hashlib.sha256(text.encode()).hexdigest() != one.get("hash"):
            raise Unproven(f"{ENTRIES}: entry {one.get('seq')} has not the hash of its content")
    leaves = {one["seq"] - 1: bytes.fromhex(one["hash"]) for one in whole}
    if len({one["seq"] for one in found}) != len(found) or root_of(size, leaves, json.loads(good[PROOF])) != root:
        raise Unproven(f"{ENTRIES}, {PROOF}: the entries do not lead to the root of the signed checkpoint")
    return whole, withheld, size, root


def claims(
    good: dict[str, bytes], said: dict[str, Any], key: bytes, seen: str = "", witness: str = "", model: str = ""
) -> list[tuple[str, str]]:
    """What the files that are as signed show, each as (verdict, sentence).

    Args:
        good: content of these files.
        said: the signed statement.
        key: the trusted key.
        seen: file of a checkpoint that the reader kept from earlier.
        witness: file of a witness's public key (PEM).
        model: folder with the files of the model itself.
    """
    about = said["predicate"]
    files = {SEEN, MANIFEST, *(one["name"] for one in said["subject"])}  # the first two are not in every pack
    found = [
        (PROVEN, f"{INDEX} names {len(said['subject'])} files about {about['about']} and is signed by the trusted key")
    ]
    entries = functools.cache(lambda: _entries(good, about, key))
    work: list[Any] = [lambda: _ledger(good, about, entries), lambda: _row_groups(good, about, entries)]
    work += [lambda: _manifest(good, model)]
    work += [lambda: _seen(good, about, key, seen, witness)] if seen or witness else []
    for one in work:
        try:
            for claim in one():
                found.append(claim)  # what was found before something is amiss stays said
        except Unproven as refusal:
            found.append((FAILED, str(refusal)))
        except KeyError as absent:
            if absent.args[0] in files - good.keys():
                found.append((UNCOVERED, f"what {absent} would show: it is missing, altered, or was not given"))
            else:
                found.append((FAILED, f"a file lacks {absent}, or the index speaks of one that it does not list"))
        except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
            found.append((FAILED, f"a file cannot be read: {type(error).__name__}: {error}"))
    if not seen:
        found.append(
            (UNCOVERED, "that nothing was rewritten before this checkpoint: keep checkpoints, give one with --seen")
        )
    if not witness:
        found.append((UNCOVERED, "that all who ask are shown the same ledger: have a witness cosign, see --witness"))
    found += [(ASSERTED, line) for line in about["asserted"]]
    return found + [(UNCOVERED, line) for line in about["not_covered"]]


def _ledger(good: dict[str, bytes], about: dict[str, Any], entries: Callable[[], Entries]) -> Iterator[tuple[str, str]]:
    whole, withheld, size, root = entries()
    yield PROVEN, f"{len(whole)} entries are in the ledger of {size} whose root {root.hex()} the trusted key signed"
    if withheld:
        said = f"{len(withheld)} more are withheld but for place and kind: they name an entity"
        yield ASSERTED, f"{ENTRIES}: {said}"
    last = {(one["subject"], one["kind"]): json.loads(one["payload"]) for one in whole}
    for name, kind, fields in about["from_ledger"]:
        rows = [json.loads(line) for line in good[name].splitlines()]
        pairs = [(row, last[row.get("subject"), kind]) for row in rows if (row.get("subject"), kind) in last]
        wrong = [row["subject"] for row, entry in pairs if any(row.get(one) != entry.get(one) for one in fields)]
        if wrong:
            yield FAILED, f"{name}: {len(wrong)} say otherwise than the ledger: {', '.join(wrong[:3])}"
        if pairs:
            said = f"{', '.join(fields)} of {len(pairs) - len(wrong)} of {len(rows)} are as an entry `{kind}` says"
            yield PROVEN, f"{name}: {said}"
        if len(pairs) < len(rows):
            yield ASSERTED, f"{name}: {len(rows) - len(pairs)} of {len(rows)}: the pack has no entry `{kind}`"


def _row_groups(
    good: dict[str, bytes], about: dict[str, Any], entries: Callable[[], Entries]
) -> Iterator[tuple[str, str]]:
    """Whether the row groups of a decision are among those that were published, as the entry of their publication has them."""
    if not about["about"].startswith("decision:"):
        return
    said, whole = json.loads(good[DECISION]), entries()[0]
    of = f"{said['flow']}/{said['partition']}"
    named = f"decision:{said['flow']}@{said['partition']}#{said['entity'][:16]}"
    if about["about"].partition(" as of ")[0] != named:
        raise Unproven(f"{DECISION}: about {named}, the index speaks of {about['about']}")
    told = [json.loads(one["payload"]) for one in whole if one["subject"] == of and one["kind"] in PUBLISHED]
    entry: dict[str, Any] = next((one for one in told if one["commit"] == said["commit"]["id"]), {})
    for kind in ("decisions", "predictions"):
        groups, tree = said["published"][kind] or [], entry.get("row_groups", {}).get(kind)
        if tree is not None and not groups:
            yield UNCOVERED, f"{DECISION}: which row group has its {kind}: none is named"
        for group in [groups] if isinstance(groups, dict) else groups:
            name = f"{DECISION}: the row group {group['group_sha256'][:12]}... that has its {kind}"
            same = tree is not None and entry["datasets"][kind] == group["dataset_sha256"]
            if not same and "path" not in group:
                why = "published before the ledger was told" if tree is None else "written anew by an erasure since"
                yield ASSERTED, f"{name}: {why}"
                continue
            mine, path = leaf(bytes.fromhex(group["group_sha256"])), [bytes.fromhex(one) for one in group["path"]]
            if not same or not included(group["index"], tree["size"], mine, path, bytes.fromhex(tree["root"])):
                raise Unproven(f"{name}: it is none of those that the ledger was told of")
            yield PROVEN, f"{name}: it is one of the {tree['size']} that {of} was published as, as an entry says"


def _manifest(good: dict[str, bytes], model: str) -> list[tuple[str, str]]:
    names = [name for name in good if re.fullmatch(r"(model|models/[^/]+)/manifest\.json", name)] or [MANIFEST]
    key = public_key(json.loads(good["keys.json"])["models"]) if names[0] in good else b""
    found: list[tuple[str, str]] = []
    for name in names:
        signature = good[f"{name[:-5]}.sig"] if name in good else b""
        if not signed_by(key, b"baton-model-manifest-v1\n" + good[name], signature):
            raise Unproven(f"{name}: not signed by the key of models that the index vouches for")
        count = len(json.loads(good[name])["files"])
        found.append(
            (PROVEN, f"{name}: the manifest of the model's {count} files is signed by the installation's key of models")
        )
    if not model:
        return [*found, (UNCOVERED, "the model's own files, which are not in the pack: give their folder with --model")]
    files = json.loads(good[MANIFEST])["files"]
    paths = {name: Path(model, name) for name in files}
    wrong = [
        name for name, path in paths.items()
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != files[name]["sha256"]
    ]  # fmt: skip
    if wrong:
        raise Unproven(f"{model}: {', '.join(wrong[:3])}: not the file that was signed")
    return [*found, (PROVEN, f"the {len(files)} files in {model} are those that were signed")]


def _seen(good: dict[str, bytes], about: dict[str, Any], key: bytes, seen: str, witness: str) -> list[tuple[str, str]]:
    given = json.loads(good[SEEN])
    note = Path(seen).read_text(encoding="utf-8") if seen else given["checkpoint"]
    size, root = head(note, key)
    if opened(note)[:3] != opened(given["checkpoint"])[:3]:
        raise Unproven(
            f"{seen}: not the checkpoint that the pack continues; ask for `baton evidence --seen` with this file"
        )
    now, path = about["ledger"], [bytes.fromhex(one) for one in given["path"]]
    if not continued(size, now["size"], root, bytes.fromhex(now["root"]), path):
        raise Unproven(f"{SEEN}: the ledger does not continue the checkpoint of {size} entries: it was rewritten")
    found = [(PROVEN, f"the ledger continues the checkpoint of {size} entries: none of them was changed since")]
    if witness:
        at = cosigned(note, public_key(Path(witness).read_text(encoding="ascii")))
        if at is None:
            raise Unproven("the checkpoint is not cosigned by the witness's key")
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        found.append((PROVEN, f"the witness cosigned that checkpoint, by its own clock at {when}"))
    return found


def verify(data: bytes, given: str, **more: str) -> tuple[dict[str, str], list[tuple[str, str]], bool]:
    """Files with their verdicts, claims as (verdict, sentence), and whether all is well.

    Args:
        data: the pack.
        given: file of the trusted key, or its SHA-256.
        more: `seen`, `witness`, `model`, as `claims` takes them.
    """
    try:
        files, fault = unpack(data)
        key = trusted(given, files.get("keys.json", b""))
        if INDEX not in files:
            raise Unproven(f"{INDEX}: missing")
        said = statement(files[INDEX], key)
    except Unproven as refusal:
        return {}, [(FAILED, str(refusal))], False
    verdicts = judged(files, said)
    found = [(FAILED, fault)] if fault else []
    found += claims({name: files[name] for name, one in verdicts.items() if one == "ok"}, said, key, **more)
    well = all(one == "ok" for one in verdicts.values()) and all(one != FAILED for one, _ in found)
    return verdicts, found, well


def main() -> int:
    """Read the command line, say what is found."""
    parser = argparse.ArgumentParser(description="Verify a pack of evidence that Baton wrote.")
    parser.add_argument("pack", help="the pack, a ZIP file")
    parser.add_argument("--key", required=True, help="the installation's key: file evidence.pub, or its SHA-256 in hex")
    parser.add_argument("--seen", default="", help="a checkpoint that you kept from earlier")
    parser.add_argument("--witness", default="", help="a witness's public key, PEM")
    parser.add_argument("--model", default="", help="folder with the model's own files")
    given = parser.parse_args()
    try:
        if Path(given.pack).stat().st_size > MAX_BYTES:
            raise Unproven(f"{given.pack}: larger than {MAX_BYTES} bytes")
        data = Path(given.pack).read_bytes()
        verdicts, found, well = verify(data, given.key, seen=given.seen, witness=given.witness, model=given.model)
    except (Unproven, OSError, ValueError) as error:
        sys.stderr.write(f"it cannot be told: {error}\n")
        return 2
    for name, verdict in sorted(verdicts.items()):
        sys.stdout.write(f"{verdict:<12} {name}\n")
    for verdict, sentence in found:  # a line each, whatever a file says
        sys.stdout.write(f"{verdict:<12} {''.join(one if one.isprintable() else '?' for one in sentence)}\n")
    sys.stdout.write("all as signed\n" if well else "NOT as signed\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

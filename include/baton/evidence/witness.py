"""A witness: somebody else's key that cosigns the ledger's checkpoints, each only if it continues the last that it saw.

File to file, without a network: a request is a text in the form of c2sp.org/tlog-witness (`old <size>`, a consistency
proof, the checkpoint), the answer a checkpoint with one more line (c2sp.org/tlog-cosignature). The witness keeps, in a
folder of its own on another machine, its key and the last checkpoint of each ledger.
"""

import base64
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from baton.errors import BatonError
from baton.evidence.proofs import Unproven, continued, decoded, head, opened
from baton.files import place
from baton.keys import signing_key

KEY = "witness"


def request(old: int, path: Sequence[bytes], note: str) -> str:
    """What a witness is asked.

    Args:
        old: size of the checkpoint that it saw last; 0: none.
        path: proof that the ledger continues that one.
        note: the checkpoint to cosign.
    """
    return "\n".join([f"old {old}", *(base64.b64encode(one).decode() for one in path), "", note])


def cosign(asked: str, folder: Path, key: bytes, now: float | None = None) -> str:
    """Cosign a checkpoint, and remember it as the last one seen.

    Args:
        asked: the request.
        folder: the witness's own, with its key (made on first use) and what it saw.
        key: the ledger's public key, 32 bytes.
        now: seconds since 1970; default this machine's clock.

    Raises:
        BatonError: the checkpoint is not of that key, or does not continue the last one seen; nothing is signed then.
    """
    proof, _, note = asked.partition("\n\n")
    first, *lines = proof.split("\n")
    try:
        size, root = head(note, key)
        path = [decoded(line) for line in lines]
    except Unproven as refusal:
        raise BatonError(f"not cosigned: {refusal}") from None
    text = opened(note)[0]
    last = folder / f"{hashlib.sha256(key).hexdigest()[:16]}.seen"
    old, before = 0, hashlib.sha256().digest()
    if last.exists():
        try:
            old, before = head(last.read_text(encoding="utf-8"), key)
        except Unproven as refusal:
            raise BatonError(f"{last}: {refusal}; bring back the last checkpoint that was cosigned") from None
    if first != f"old {old}":
        raise BatonError(
            f"not cosigned: the last one seen has {old} entries; ask with `baton ledger checkpoint --after {old}`"
        )
    if not continued(old, size, before, root, path):
        raise BatonError(
            f"NOT cosigned: the ledger of {size} entries does not continue that of {old} which was cosigned before: it was "
            f"rewritten. Keep this request and {last}, and ask its owner"
        )
    signer, at = signing_key(folder, KEY), int(time.time() if now is None else now)
    public = signer.public_key().public_bytes_raw()
    name = f"baton-witness-{hashlib.sha256(public).hexdigest()[:16]}"
    mark = hashlib.sha256(name.encode() + b"\n\4" + public).digest()[:4]
    signature = signer.sign(b"cosignature/v1\ntime %d\n" % at + text.encode())
    line = base64.b64encode(mark + at.to_bytes(8, "big") + signature).decode()
    place(last, note, replace=True)
    return f"{note}\u2014 {name} {line}\n"

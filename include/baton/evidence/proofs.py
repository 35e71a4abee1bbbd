"""Signatures, checkpoints and Merkle proofs, verified with nothing but Python: Ed25519 (RFC 8032), RFC 9162, C2SP's notes.

Together with `verifier` this is the one file that goes to an auditor: Python 3.9, no import from baton.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from bisect import bisect_left


class Unproven(Exception):
    """What is wrong, in a sentence."""


# --- Ed25519 (RFC 8032) ---

_P, _L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)


def _add(p: tuple[int, ...], q: tuple[int, ...]) -> tuple[int, ...]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: tuple[int, ...]) -> tuple[int, ...]:
    found: tuple[int, ...] = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = _add(found, point)
        point, number = _add(point, point), number >> 1
    return found


def _point(code: bytes) -> tuple[int, ...] | None:
    """A point of its 32 bytes; None: there is none, or another spelling of one."""
    y = int.from_bytes(code, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (not x and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little")) or ()


def signed_by(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature of 64 bytes over a message is of the public key of 32 bytes."""
    if len(key) != 32 or len(signature) != 64:
        return False
    public, commitment, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if public is None or commitment is None or s >= _L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % _L
    a, b = _times(s, _BASE), _add(commitment, _times(k, public))
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 and (a[1] * b[2] - b[1] * a[2]) % _P == 0


_PEM_HEAD = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of an Ed25519 key


def public_key(pem: str) -> bytes:
    """The 32 bytes of a public key in PEM."""
    lines = [line.strip() for line in pem.strip().splitlines()]
    if lines[:1] != ["-----BEGIN PUBLIC KEY-----"] or lines[-1] != "-----END PUBLIC KEY-----":
        raise Unproven("not a public key in PEM")
    code = decoded("".join(lines[1:-1]))
    if len(code) != 44 or not code.startswith(_PEM_HEAD):
        raise Unproven("not an Ed25519 key")
    return code[12:]


def decoded(text: str) -> bytes:
    """What base64 stands for, in its one spelling."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unproven("not base64") from None
    if base64.b64encode(found).decode() != text:
        raise Unproven("base64 in another spelling")
    return found


# --- checkpoints and proofs (c2sp.org/tlog-checkpoint, RFC 9162) ---


def opened(note: str) -> tuple[str, int, bytes, list[tuple[str, bytes]]]:
    """Text, size and root of a checkpoint, and its signatures: name, mark of the key and what was signed with it."""
    text, _, lines = note.partition("\n\n")
    body = text.split("\n")
    if len(body) < 3 or not re.fullmatch(r"0|[1-9][0-9]{0,15}", body[1]) or len(root := decoded(body[2])) != 32:
        raise Unproven("not a checkpoint")
    found = []
    for line in lines.splitlines():
        dash, name, signature = [*line.split(" "), "", ""][:3]
        if dash == "\u2014":
            found.append((name, decoded(signature)))
    return text + "\n", int(body[1]), root, found


def _mark(name: str, kind: bytes, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + key).digest()[:4]


def head(note: str, key: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint. Raises Unproven: the key did not sign it."""
    text, size, root, signatures = opened(note)
    origin = text.split("\n")[0]
    for name, code in signatures:
        if name == origin and code[:4] == _mark(name, b"\1", key) and signed_by(key, text.encode(), code[4:]):
            return size, root
    raise Unproven("its checkpoint is not signed by the trusted key")


def cosigned(note: str, key: bytes) -> int | None:
    """When a witness's key cosigned a checkpoint, in seconds since 1970; None: it did not."""
    text, _, _, signatures = opened(note)
    for name, code in signatures:
        if code[:4] == _mark(name, b"\4", key) and len(code) == 76:
            at = int.from_bytes(code[4:12], "big")
            if signed_by(key, b"cosignature/v1\ntime %d\n" % at + text.encode(), code[12:]):
                return at
    return None


def leaf(entry: bytes) -> bytes:
    """Hash of a leaf: of an entry's hash."""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees side by side."""
    return hashlib.sha256(b"\1" + left + right).digest()


def included(index: int, size: int, found: bytes, path: list[bytes], root: bytes) -> bool:
    """Whether a proof leads from the leaf `index` (counted from 0) to the root of `size` entries."""
    at, last = index, size - 1
    if not 0 <= index < size:
        return False
    for step in path:
        if not last:
            return False
        if at & 1 or at == last:
            found = node(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def continued(old: int, size: int, before: bytes, root: bytes, path: list[bytes]) -> bool:
    """Whether a proof shows that the `old` entries with the root `before` begin the `size` entries with `root`."""
    if old == size or not old:
        return not path and (before == root if old else before == hashlib.sha256().digest())
    if not 0 < old < size or not path:
        return False
    steps = [before, *path] if not old & (old - 1) else path
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    left = right = steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            left, right = node(step, left), node(step, right)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            right = node(right, step)
        at, last = at >> 1, last >> 1
    return left == before and right == root and last == 0


def root_of(size: int, leaves: dict[int, bytes], nodes: dict[str, str]) -> bytes:
    """Root that entries lead to by the nodes that they share: the inclusion proofs of all of them at once.

    Args:
        leaves: hash of each entry, by its index counted from 0.
        nodes: `<first>-<end>` -> root of the entries in between, of which none is among the leaves; hex.
    """
    order = sorted(leaves)

    def between(first: int, end: int) -> bytes:
        mine = bisect_left(order, first) < bisect_left(order, end)
        if not mine:
            if (found := nodes.get(f"{first}-{end}")) is None:
                raise Unproven(f"the proof lacks the entries {first + 1} to {end}")
            return bytes.fromhex(found)
        if end - first == 1:
            return leaf(leaves[first])
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        return node(between(first, middle), between(middle, end))

    return between(0, size)

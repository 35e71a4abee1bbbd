"""Templates of log lines: Drain (He et al. 2017, by Drain3) on lines whose variable parts were masked before.

What is masked is what varies in any log: addresses, host names, hexadecimal and other numbers, quoted texts, and the account after
words that announce one. Drain's tree then only joins lines of the same length that agree in most words.

Templates are mined afresh from the lines that are given, in the order of their text: a line's template depends on the lines beside
it and on nothing that ran before, on no order in which files arrived and on no state. That costs what is known of earlier
partitions; the masks carry most of it, so that the same line has the same template in almost every partition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DEPTH = 6  # of the tree: four words lead to a leaf's groups
SIMILAR = 0.5  # share of words that must agree
CHILDREN = 100
LONGEST = 1024  # characters of a line that are looked at

# what stands in place of it, and what it looks like; in this order
MASKS: tuple[tuple[str, str], ...] = (
    ("<url>", r"\b[a-z][a-z0-9+.-]*://\S+"),
    ("<mac>", r"\b(?:[0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}\b"),
    ("<time>", r"(?<![\w:.])\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d+)?)?(?![\w:])"),
    ("<ip>", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)"),
    ("<ip>", r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])"),
    ("<host>", r"\b(?=[\w.-]*[A-Za-z])(?:[\w-]+\.){1,}[A-Za-z]{2,}\b(?!\()"),
    ("<hex>", r"\b0x[0-9A-Fa-f]+\b|\b(?=[0-9A-Fa-f]*\d)(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{8,}\b"),
    ("<num>", r"(?<![\w])[-+]?\d+(?:\.\d+)?(?![\w])"),
)
# the account behind these words, or behind `user=`; it may be missing, or be several words
_ACCOUNT = re.compile(
    r"\b(?P<word>(?:[Ii]nvalid|[Ii]llegal|unknown) user|(?:for|by|of) user|session (?:opened|closed) for user)"
    r"(?: (?!from\b|\[)\S*(?: (?!from\b|by\b|\[)\S+)*)?(?P<rest> (?=from\b|by\b|\[)| *$)"
)
_LOGIN = re.compile(r"\b(?P<word>(?:Failed|Accepted) \S+ for(?: invalid user)?) .*?(?P<rest> from )")
_ASSIGNED = re.compile(r"\b(?P<word>(?:r?user|uname|logname|account|acct)=)[^\s;,]*")
_HEAD = re.compile(
    r"^(?:<\d+>)?(?:[A-Z][a-z]{2} +\d+ \d+:\d+:\d+|\d+-\d+-\d+[T ]\d+:\d+:\d+\S*) \S+ [\w./-]+(?:\[\d+\])?: "
)
_DIGITS = re.compile(r"\d+")
_MASKS = [(mask, re.compile(pattern)) for mask, pattern in MASKS]


def content(line: str) -> str:
    """A log line without syslog's head (time, host, program, process)."""
    return _HEAD.sub("", line, count=1)


def masked(line: str) -> str:
    """A line with its variable parts masked; it makes no difference how many digits a number has."""
    text = content(_DIGITS.sub("0", line[:LONGEST]))
    text = _LOGIN.sub(lambda m: f"{m['word']} <user>{m['rest']}", text)
    text = _ACCOUNT.sub(lambda m: f"{m['word']} <user>{m['rest']}", text)
    text = _ASSIGNED.sub(lambda m: f"{m['word']}<user>", text)
    for mask, pattern in _MASKS:
        text = pattern.sub(mask, text)
    return re.sub(r"\s+", " ", text).strip()


def templates(lines: Sequence[str]) -> list[str]:
    """The template of each line: the same text for lines of one group.

    Args:
        lines: log lines, with or without syslog's head.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.drain_depth, config.drain_sim_th, config.drain_max_children = DEPTH, SIMILAR, CHILDREN
    config.profiling_enabled = False
    config.parametrize_numeric_tokens = True
    miner = TemplateMiner(config=config)
    # a million lines hold some ten thousand that differ in more than their digits
    alike = pc.replace_substring_regex(pc.utf8_slice_codeunits(pa.array(lines, pa.string()), 0, LONGEST), "[0-9]+", "0")
    distinct = alike.dictionary_encode()
    short = [masked(text) for text in distinct.dictionary.to_pylist()]
    # each different line once, in the order of text: neither order nor number of the lines changes the groups
    group = {text: miner.add_log_message(text)["cluster_id"] for text in sorted(set(short))}
    said = {cluster.cluster_id: cluster.get_template() for cluster in miner.drain.clusters}
    names = [said[group[text]] for text in short]
    return [names[code] for code in distinct.indices.to_pylist()]

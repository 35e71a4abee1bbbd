"""Sigma rules against their own events: the pack's, and rules in the style of published ones; and what is not supported.

    python tests/bench/bench_sigma.py

Each case names events in which its rule must be found and events in which it must not (`sigma_cases.yaml`, `sigma_pack_cases.yaml`);
each of a case's lists is judged for itself, and all rules of the file run at once. A feature that is not supported must be a
mistake of `baton lint`, with the line on which it stands.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from baton_packs.incident_response.detection.alerts import rule_alerts
from baton_packs.incident_response.detection.engine import matches
from baton_packs.incident_response.detection.rules import load_rules, read_rules
from baton_packs.incident_response.detection.stages import RULES

HERE = Path(__file__).parent
HEAD = "title: T\nid: 6f9c6b0e-1111-4222-8333-444455556666\nlevel: low\n"
PROCESS = "logsource: {category: process_creation}\ndetection:\n"
UNSUPPORTED = {  # what is written -> the line it stands on, a part of what is said
    HEAD + "logsource: {product: aws, service: cloudtrail}\ndetection:\n  s: {a: b}\n  condition: s\n": (4, "no events of"),
    HEAD + PROCESS + "  s:\n    NoSuchField: x\n  condition: s\n": (7, "no field `NoSuchField`"),
    HEAD + PROCESS + "  s:\n    CommandLine|hour: 3\n  condition: s\n": (7, "not supported"),
    HEAD + PROCESS + "  s:\n    CommandLine|nosuch: 3\n  condition: s\n": (7, "nosuch"),
    HEAD + PROCESS + "  s:\n    CommandLine|expand: '%admins%'\n  condition: s\n": (7, ""),
    HEAD + PROCESS + "  s:\n    CommandLine|re: '(?=x)y'\n  condition: s\n": (7, "(?="),
    HEAD + PROCESS + "  s:\n    CommandLine|cidr: 10.0.0.0/8\n  condition: s\n": (7, "holds no addresses"),
    HEAD + PROCESS + "  s:\n    ParentImage: x\n  condition: s\n": (7, "can never match"),
    HEAD + PROCESS + "  s:\n    CommandLine: x\n  condition: s | count() > 5\n": (8, ""),
    HEAD + PROCESS + "  s:\n    CommandLine: x\n  condition: s and nosuch\n": (8, ""),
    HEAD + "correlation:\n  type: value_sum\n  rules: [r]\n  group-by: [src_ip]\n  timespan: 5m\n"
    "  condition: {gte: 5, field: cs-bytes}\n---\n" + HEAD.replace("6f9c", "7f9c") + "name: r\n" + PROCESS
    + "  s:\n    CommandLine: x\n  condition: s\n": (5, "value_sum is not supported"),
    HEAD + "correlation:\n  type: event_count\n  rules: [nosuch]\n  group-by: [src_ip]\n  timespan: 5m\n"
    "  condition: {gte: 5}\n": (6, "no rule `nosuch`"),
    HEAD + "filter:\n  rules: [r]\n  condition: not x\n": (1, "is a filter"),
    "title: T\nlogsource: {category: dns}\ndetection:\n  s: {query: x}\n  condition: s\nlevel: low\n": (1, "is missing"),
}  # fmt: skip


def events_module() -> Any:
    """`sigma_events`, a neighbour: `tests/` is no package."""
    spec = importlib.util.spec_from_file_location("sigma_events", HERE / "sigma_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sigma_events"] = module
    spec.loader.exec_module(module)
    return module


def public_style() -> list[str]:
    """What goes otherwise than a case says, a sentence each; of single rules, each event for itself."""
    own = events_module()
    cases = own.cases("sigma_cases.yaml")
    with tempfile.TemporaryDirectory() as folder:
        rules, problems = read_rules(own.write_rules([case["rule"] for case in cases], Path(folder)))
    wrong = [str(problem) for problem in problems if not problem.note]
    named = {rule.title: rule for rule in rules}
    for case in cases:
        title = case["rule"]["title"]
        if title not in named:
            continue  # the problem says why
        for kind, wanted in (("hits", True), ("misses", False)):
            rows = own.frame(case[kind])
            found = matches(rows, [named[title]])[0]
            wrong += [
                f"{title}: event {at} of its {kind} {'was' if at in found else 'was not'} found"
                for at in range(len(rows))
                if (at in found) != wanted
            ]
    return wrong


def of_the_pack() -> tuple[int, list[str]]:
    """Rules of the pack that make alerts, and what goes otherwise than the cases say; all rules run at once."""
    own = events_module()
    rules = load_rules(RULES)
    cases = own.cases("sigma_pack_cases.yaml")
    alone = {rule.title for rule in rules if rule.alone}
    wrong = [f"{title}: has no case" for title in sorted(alone - {case["title"] for case in cases})]
    wrong += [f"{case['title']}: no rule of that title" for case in cases if case["title"] not in alone]
    for case in cases:
        for kind, wanted in (("hits", True), ("misses", False)):
            for number, events in enumerate(case[kind]):
                found = rule_alerts(own.frame(events), rules)
                if (case["title"] in set(found["title"])) != wanted:
                    wrong.append(f"{case['title']}: {kind}[{number}] {'not found' if wanted else 'found'}")
    return len(alone), wrong


def not_supported() -> list[str]:
    """Mistakes that lint does not name as it should."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (text, (line, said)) in enumerate(UNSUPPORTED.items()):
            path = Path(folder) / f"rule_{number:02d}.yml"
            path.write_text(text, encoding="utf-8")
            problems = [problem for problem in read_rules([path])[1] if not problem.note]
            if not any(problem.line == line and said in problem.message for problem in problems):
                told = "; ".join(f"{problem.line}: {problem.message}" for problem in problems) or "nothing"
                wrong.append(f"line {line}, `{said}`: lint says {told} of\n{text}")
    return wrong


def speed(rows: int = 1_000_000) -> float:
    """CPU seconds of all the pack's rules over so many events."""
    own = events_module()
    some = own.frame([event for case in own.cases("sigma_cases.yaml") for event in case["hits"] + case["misses"]])
    many = pd.concat([some] * (rows // len(some) + 1), ignore_index=True).iloc[:rows]
    many = many.assign(metadata_uid=[f"m{n}" for n in range(rows)])
    rules = [rule for rule in load_rules(RULES) if rule.correlation is None]
    started = time.process_time()
    matches(many, rules)
    return time.process_time() - started


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All figures; what went wrong is left in `out`."""
    shared = {
        "seed": seed,
        "load": os.getloadavg()[0],
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "required": True,
    }
    own = events_module()
    public, (count, pack), mistakes = public_style(), of_the_pack(), not_supported()
    out.mkdir(parents=True, exist_ok=True)
    (out / "sigma_wrong.json").write_text(json.dumps([*public, *pack, *mistakes], indent=1), encoding="utf-8")
    total = len(own.cases("sigma_cases.yaml"))
    wrong = {line.split(":")[0] for line in public}
    bad = {line.split(":")[0] for line in pack}
    rows = [
        ("sigma_public_style_rules", (total - len(wrong)) / total, "share as expected", 1.0, True),
        ("sigma_pack_rules", (count - len(bad)) / count, "share as expected", 1.0, True),
        ("sigma_unsupported_features", 1 - len(mistakes) / len(UNSUPPORTED), "share that lint names", 1.0, True),
        ("sigma_rules_over_1M_events", speed(), "CPU seconds", 20.0, False),
    ]
    return [
        {"name": name, "value": value, "unit": unit, "target": target, "larger_is_better": larger, **shared}
        for name, value, unit, target, larger in rows
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(20, Path(tempfile.mkdtemp())), indent=1) + "\n")

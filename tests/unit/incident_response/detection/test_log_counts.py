"""Templates of log lines and what is counted of them."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from baton_packs.incident_response.detection.log_counts import count_logs
from baton_packs.incident_response.detection.stages import once
from baton_packs.incident_response.detection.templates import masked, templates

START = pd.Timestamp("2026-11-20T09:00:00Z")


def logs(lines: list[tuple[int, str, int, str, str]], host: str = "web-1") -> pd.DataFrame:
    """Rows of (seconds, account, status, address, line)."""
    rows = [
        {"metadata_uid": f"{host}-{n}", "time": START + pd.Timedelta(seconds=at), "class_uid": 3002, "status_id": status,
         "device_hostname": host, "user_name": user, "src_endpoint_ip": address, "raw_data": line}
        for n, (at, user, status, address, line) in enumerate(lines)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"status_id": "Int64"})


FAILED = [(n * 10, f"u{n % 3}", 2, "203.0.113.9", f"Failed password for u{n % 3} from 203.0.113.9 port {4000 + n} ssh2")
          for n in range(6)]  # fmt: skip
ACCEPTED = [(70, "u1", 1, "203.0.113.9", "Accepted password for u1 from 203.0.113.9 port 4100 ssh2")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Dec 10 06:55:46 LabSZ sshd[24200]: Invalid user webmaster from 173.234.31.186",
         "Invalid user <user> from <ip>"),
        ("Failed password for invalid user a b from fe80::1 port 22 ssh2",
         "Failed password for invalid user <user> from <ip> port <num> ssh0"),
        ("pam_unix(sshd:auth): session opened for user root by (uid=0)",
         "pam_unix(sshd:auth): session opened for user <user> by (uid=<num>)"),
        ("connect to db.corp.example:5432 took 12.5 ms, id deadbeef12345678",
         "connect to <host>:<num> took <num> ms, id <hex>"),
        ("Invalid user  from 10.0.0.1", "Invalid user <user> from <ip>"),
    ],
)  # fmt: skip
def test_variable_parts_are_masked(line: str, expected: str) -> None:
    assert masked(line) == expected


def test_lines_that_differ_in_a_word_share_a_template_and_others_do_not() -> None:
    lines = [f"the night run of job {name} finished with code {n}" for n, name in enumerate(["alpha", "beta", "gamma"])]
    found = templates([*lines, "disk full"])
    assert len(set(found[:3])) == 1
    assert found[3] not in found[:3]


def test_templates_depend_on_the_lines_alone() -> None:
    lines = [one[4] for one in [*FAILED, *ACCEPTED]] + [
        f"unit {n} of {name} stopped now" for n, name in enumerate("abcdef")
    ]
    first = dict(zip(lines, templates(lines), strict=True))
    mixed = random.Random(5).sample(lines * 3, len(lines) * 3)
    templates(["something else that ran before", *lines[:4]])
    assert dict(zip(mixed, templates(mixed), strict=True)) == first


def test_counts_of_a_host_and_five_minutes() -> None:
    late = [(400, "u2", 2, "10.0.0.7", "Failed password for u2 from 10.0.0.7 port 9 ssh2")]
    made = count_logs(logs([*FAILED, *ACCEPTED, *late])).set_index("count_id")
    assert list(made.index) == ["web-1@2026-11-20T09:00:00", "web-1@2026-11-20T09:05:00"]
    first, second = made.iloc[0], made.iloc[1]
    told = ["lines", "per_minute", "templates", "rare_lines", "sequences", "failed_logins", "accepted_logins", "users",
            "addresses", "failed_users", "worst_address", "failed_then_accepted"]  # fmt: skip
    assert [float(first[name]) for name in told] == [7, 6, 2, 1, 2, 6, 1, 3, 1, 3, 6, 1]
    assert first["failed_share"] == pytest.approx(6 / 7)
    assert first["entropy"] == pytest.approx(0.591673, abs=1e-5)
    assert [float(second[name]) for name in told] == [1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0]


def test_a_success_before_the_failures_is_no_sign() -> None:
    early = [(0, "u1", 1, "203.0.113.9", "Accepted password for u1 from 203.0.113.9 port 1 ssh2")]
    made = count_logs(logs([*early, *((at + 5, *rest) for at, *rest in FAILED)]))  # type: ignore[misc]
    assert made["failed_then_accepted"].tolist() == [0]


def test_neither_order_nor_repetition_changes_the_counts() -> None:
    rows = pd.concat([logs([*FAILED, *ACCEPTED]), logs(FAILED, "db-1")], ignore_index=True)
    shuffled = pd.concat([rows, rows.iloc[:3]], ignore_index=True).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(count_logs(once(shuffled)), count_logs(rows))


def test_events_without_lines_are_counted_nowhere() -> None:
    assert len(count_logs(logs(FAILED).assign(raw_data=None))) == 0
    assert list(count_logs(logs(FAILED).assign(raw_data=None)).columns) == list(count_logs(logs(FAILED)).columns)


def test_a_uid_given_twice_hides_no_row() -> None:
    rows = logs(FAILED).assign(metadata_uid="same")
    kept = once(pd.concat([rows, rows.iloc[[2]]], ignore_index=True))
    assert kept["metadata_uid"].tolist() == ["same", "same~2", "same~3", "same~4", "same~5", "same~6"]
    named = once(pd.concat([rows.iloc[:2], rows.iloc[[2]].assign(metadata_uid="same~2")], ignore_index=True))
    assert named["metadata_uid"].is_unique
    assert len(named) == 3

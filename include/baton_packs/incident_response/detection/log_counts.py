"""Counts of what hosts log: one row a host and five minutes, with templates, their sequence, and log-ins.

Each row depends only on the events given: their order and what ran before make no difference.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from baton_packs.incident_response.detection.templates import templates

WINDOW = "5min"
FAILED_BEFORE = 3  # failed log-ins from an address before a success is noted
_SUCCESS, _FAILURE, _LOGON = 1, 2, 3002
_TYPES = {
    "lines": "int64", "per_minute": "float64", "templates": "int64", "rare_lines": "int64", "entropy": "float64",
    "sequences": "int64", "failed_logins": "int64", "accepted_logins": "int64", "failed_share": "float64", "users": "int64",
    "addresses": "int64", "failed_users": "int64", "worst_address": "int64", "failed_then_accepted": "int64",
}  # fmt: skip


def count_logs(events: pd.DataFrame) -> pd.DataFrame:
    """Count the log lines of events.

    Args:
        events: n rows of the contract `events`; those with `raw_data` and a host are counted.

    Returns:
        one row a host and five minutes that has lines, in the order of `count_id`: the contract `log_counts`, and `_row`.
    """
    known = events[(events["raw_data"].notna() & events["device_hostname"].notna()).to_numpy()]
    if known.empty:
        texts = {"count_id": pd.Series(dtype=object), "time": pd.Series(dtype="datetime64[ns, UTC]")}
        empty = pd.DataFrame({**texts, "device_hostname": pd.Series(dtype=object)})
        return empty.assign(
            **{name: pd.Series(dtype=kind) for name, kind in _TYPES.items()}, _row=pd.Series(dtype="int64")
        )
    made = _lines(known)
    key = ["host", "window"]
    by = made.groupby(key, sort=True, observed=True)
    result = by.size().rename("lines").to_frame()
    minutes = made.groupby([*key, "minute"], observed=True).size()
    result["per_minute"] = minutes.groupby(level=key).max().astype(float)
    each = made.groupby([*key, "template"], observed=True).size()
    result["templates"] = each.groupby(level=key).size()
    windows = each.groupby(level="template").size()  # in how many hosts and windows a template is
    alone = each[windows.reindex(each.index.get_level_values("template")).to_numpy() == 1]
    result["rare_lines"] = alone.groupby(level=key).sum()
    share = each / result["lines"].reindex(each.index.droplevel("template")).to_numpy()
    result["entropy"] = (-share * np.log2(share)).groupby(level=key).sum().abs().round(6)
    before = made.groupby(key, observed=True)["template"].shift()
    pairs = made.assign(before=before).dropna(subset=["before"])[[*key, "before", "template"]].drop_duplicates()
    result["sequences"] = pairs.groupby(key, observed=True).size()
    _log_ins(result, made, key)
    result = result.fillna(0).reset_index()
    starts = result["window"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    named = result.rename(columns={"host": "device_hostname", "window": "time"}).astype(_TYPES)
    named.insert(
        0, "count_id", named["device_hostname"].astype(str) + "@" + starts
    )  # as `taxonomy.count_id` says it of one
    order = ["count_id", "time", "device_hostname", *_TYPES]
    return named[order].sort_values("count_id", ignore_index=True).assign(_row=np.arange(1, len(named) + 1))


def _lines(known: pd.DataFrame) -> pd.DataFrame:
    """What is looked at of each line, in the order of time and uid."""
    times = pd.to_datetime(known["time"], utc=True)
    order = np.lexsort((known["metadata_uid"].to_numpy().astype(str), times.to_numpy("datetime64[ns]")))
    sorted_rows, at = known.iloc[order], times.iloc[order]
    names = pd.Categorical(templates(sorted_rows["raw_data"].tolist()))
    status = sorted_rows["status_id"].to_numpy(dtype=float, na_value=np.nan)
    log_on = sorted_rows["class_uid"].to_numpy() == _LOGON
    return pd.DataFrame(
        {
            "host": sorted_rows["device_hostname"].to_numpy(), "window": at.dt.floor(WINDOW).to_numpy("datetime64[ns]"),
            "minute": at.dt.floor("min").to_numpy("datetime64[ns]"), "template": names.codes,
            "user": sorted_rows["user_name"].to_numpy(), "address": sorted_rows["src_endpoint_ip"].to_numpy(),
            "failed": log_on & (status == _FAILURE), "accepted": log_on & (status == _SUCCESS),
        }
    ).assign(window=lambda rows: pd.to_datetime(rows["window"], utc=True))  # fmt: skip


def _log_ins(result: pd.DataFrame, made: pd.DataFrame, key: list[str]) -> None:
    """Adds what is known of log-ins."""
    by = made.groupby(key, observed=True)
    result["failed_logins"], result["accepted_logins"] = by["failed"].sum(), by["accepted"].sum()
    tried = (result["failed_logins"] + result["accepted_logins"]).clip(lower=1)
    result["failed_share"] = result["failed_logins"] / tried
    result["users"], result["addresses"] = by["user"].nunique(), by["address"].nunique()
    failed = made[made["failed"]]
    result["failed_users"] = failed.groupby(key, observed=True)["user"].nunique()
    result["worst_address"] = failed.groupby([*key, "address"], observed=True).size().groupby(level=key).max()
    tries = made[(made["failed"] | made["accepted"]) & made["address"].notna()]
    earlier = tries.groupby([*key, "address"], observed=True)["failed"].cumsum()
    got_in = tries[tries["accepted"] & (earlier >= FAILED_BEFORE)]
    result["failed_then_accepted"] = got_in.groupby(key, observed=True).size()

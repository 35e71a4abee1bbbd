"""The traffic features of NSL-KDD, counted over a stream of connections as they are defined there.

Two windows look back from each connection: the last two seconds (`count` .. `srv_diff_host_rate`) and the last 255
connections (`dst_host_*`). In both, a SYN error is a flag S0..S3, a REJ error the flag REJ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

SECONDS, CONNECTIONS = 2.0, 255
_FEATURES = (
    "count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate", "diff_srv_rate",
    "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_srv_rate", "dst_host_diff_srv_rate",
    "dst_host_same_src_port_rate", "dst_host_srv_diff_host_rate", "dst_host_serror_rate", "dst_host_srv_serror_rate",
    "dst_host_rerror_rate", "dst_host_srv_rerror_rate",
)  # fmt: skip


def with_traffic_features(frame: pd.DataFrame) -> pd.DataFrame:
    """The connections in order of time with the nineteen features that look at their neighbours.

    Args:
        frame: seconds, src_endpoint_ip, dst_endpoint_ip, src_port, service, flag; one stream.
    """
    frame = frame.sort_values("seconds", kind="stable", ignore_index=True)
    times = frame["seconds"].to_numpy(float)
    columns = (frame["dst_endpoint_ip"], frame["service"], frame["src_endpoint_ip"], frame["src_port"])
    target, service, source, port = (pd.factorize(column)[0] for column in columns)
    flags = frame["flag"].to_numpy(str)
    syn, rej = np.isin(flags, ("S0", "S1", "S2", "S3")), flags == "REJ"
    first = np.searchsorted(times, times - SECONDS)
    counted = np.empty((len(frame), len(_FEATURES)))
    for row in range(len(frame)):
        near = slice(first[row], row + 1)
        host, srv = target[near] == target[row], service[near] == service[row]
        here, there, both = host.sum(), srv.sum(), (host & srv).sum()
        counted[row, :9] = (
            here, there, (host & syn[near]).sum() / here, (srv & syn[near]).sum() / there, (host & rej[near]).sum() / here,
            (srv & rej[near]).sum() / there, both / here, 1 - both / here, 1 - both / there,
        )  # fmt: skip
        last = slice(max(0, row - CONNECTIONS + 1), row + 1)
        host, srv = target[last] == target[row], service[last] == service[row]
        here, both_mask = host.sum(), host & srv
        both, others = both_mask.sum(), (srv & (source[last] != source[row])).sum()
        counted[row, 9:] = (
            here, both, both / here, 1 - both / here, (host & (port[last] == port[row])).sum() / here, others / srv.sum(),
            (host & syn[last]).sum() / here, (both_mask & syn[last]).sum() / both, (host & rej[last]).sum() / here,
            (both_mask & rej[last]).sum() / both,
        )  # fmt: skip
    features: dict[str, Any] = {}
    for place, name in enumerate(_FEATURES):
        whole = name in ("count", "srv_count", "dst_host_count", "dst_host_srv_count")
        features[name] = counted[:, place].astype("int64") if whole else counted[:, place].round(2)
    return frame.assign(**features)

"""Names: of findings and of what they are found in, Sigma's fields and log sources as columns of the events (OCSF), ATT&CK's tactics in words.

A field that Sigma knows for a log source and that the events do not carry is `ABSENT`: as Sigma wants it, a comparison with it is
never true. A name that is in neither table is a mistake.
"""

from dataclasses import dataclass, field
from datetime import datetime

RULE, INTRUSION, LOG = "rule", "intrusion", "log"  # who found it

TEXTS = (
    "metadata_uid", "device_hostname", "src_endpoint_ip", "dst_endpoint_ip", "dst_endpoint_hostname", "user_name",
    "process_cmd_line", "process_name", "service_name", "query_hostname", "http_request_url", "raw_data",
)  # fmt: skip
NUMBERS = ("class_uid", "activity_id", "status_id", "severity_id", "dst_endpoint_port", "traffic_bytes_out")
ADDRESSES = ("src_endpoint_ip", "dst_endpoint_ip")
DERIVED = {
    "http_method": "CASE activity_id WHEN 1 THEN 'CONNECT' WHEN 2 THEN 'DELETE' WHEN 3 THEN 'GET' WHEN 4 THEN 'HEAD' "
    "WHEN 5 THEN 'OPTIONS' WHEN 6 THEN 'POST' WHEN 7 THEN 'PUT' WHEN 8 THEN 'TRACE' END",
    "http_path": "split_part(http_request_url, '?', 1)",
    "http_query": "CASE WHEN contains(http_request_url, '?') "
    "THEN substr(http_request_url, instr(http_request_url, '?') + 1) END",
}
"""Columns that are made of others: name -> SQL. OCSF says the method of a web request by its activity."""
COLUMNS = (*TEXTS, *DERIVED, *NUMBERS)
LOOK_BACK = 12  # partitions of five minutes before its own that a correlation counts with
CARRIED = ("metadata_uid", "time", "rules", "cells")
"""Of an event that is carried to them: its uid and time; which rules it matches, and the cells that are needed of it, as JSON."""
ABSENT = "absent__"  # in front of a field of Sigma's that the events do not carry

PROCESS, NETWORK, HTTP, DNS, LOGON = 1007, 4001, 4002, 4003, 3002

_EVERYWHERE = {
    "user": "user_name", "User": "user_name", "username": "user_name", "Username": "user_name",
    "TargetUserName": "user_name", "SubjectUserName": "user_name", "cs-username": "user_name",
    "src_ip": "src_endpoint_ip", "SourceIp": "src_endpoint_ip", "SrcIp": "src_endpoint_ip", "IpAddress": "src_endpoint_ip",
    "c-ip": "src_endpoint_ip", "ClientIP": "src_endpoint_ip",
    "dst_ip": "dst_endpoint_ip", "DestinationIp": "dst_endpoint_ip", "DstIp": "dst_endpoint_ip", "s-ip": "dst_endpoint_ip",
    "dst_port": "dst_endpoint_port", "DestinationPort": "dst_endpoint_port", "DstPort": "dst_endpoint_port",
    "s-port": "dst_endpoint_port", "DestinationHostname": "dst_endpoint_hostname",
    "Computer": "device_hostname", "ComputerName": "device_hostname", "hostname": "device_hostname",
    "host": "device_hostname", "message": "raw_data", "Message": "raw_data",
}  # fmt: skip
_PROCESS = {
    "Image": "process_name", "NewProcessName": "process_name", "ProcessName": "process_name", "exe": "process_name",
    "CommandLine": "process_cmd_line", "ProcessCommandLine": "process_cmd_line", "cmdline": "process_cmd_line",
}  # fmt: skip
_PROCESS_ABSENT = (
    "ParentImage", "ParentCommandLine", "ParentProcessId", "ParentUser", "ParentProcessName", "GrandParentImage",
    "OriginalFileName", "Description", "Product", "Company", "FileVersion", "Hashes", "Imphash", "md5", "sha1", "sha256",
    "IntegrityLevel", "CurrentDirectory", "LogonId", "LogonGuid", "ProcessGuid", "ProcessId", "TerminalSessionId",
)  # fmt: skip
_WEB = {
    "c-uri": "http_request_url", "cs-uri": "http_request_url", "cs-uri-query": "http_request_url",
    "c-uri-query": "http_query", "cs-uri-stem": "http_path", "c-uri-stem": "http_path", "cs-method": "http_method",
    "cs-host": "dst_endpoint_hostname", "r-dns": "dst_endpoint_hostname", "cs-bytes": "traffic_bytes_out",
}  # fmt: skip
_WEB_ABSENT = (
    "c-useragent", "cs-user-agent", "cs-referer", "cs-referrer", "c-uri-extension", "cs-cookie", "cs-version", "sc-status",
    "sc-bytes", "src_port", "c-port",
)  # fmt: skip
_DNS = {"query": "query_hostname", "QueryName": "query_hostname", "q_name": "query_hostname", "Image": "process_name"}
_DNS_ABSENT = ("answer", "answers", "record_type", "QueryResults", "QueryStatus", "rcode", "parent_domain", "ProcessId")
_NETWORK = {"Image": "process_name", "bytes_out": "traffic_bytes_out", "BytesSent": "traffic_bytes_out"}
_NETWORK_ABSENT = (
    "Initiated", "SourcePort", "src_port", "SourceHostname", "SourceIsIpv6", "DestinationIsIpv6", "Protocol", "ProcessId",
    "ProcessGuid", "DestinationPortName", "SourcePortName",
)  # fmt: skip
_LOGON = {"service": "service_name", "Status": "status_id", "status": "status_id"}
_LOGON_ABSENT = ("LogonType", "WorkstationName", "AuthenticationPackageName", "LogonProcessName", "EventID")


@dataclass(frozen=True)
class LogSource:
    """What of the events a Sigma log source stands for.

    Attributes:
        where: column -> value or values that its events have.
        fields: Sigma's field -> column.
        absent: fields of Sigma's that the events do not carry.
    """

    where: dict[str, int | str | list[str]]
    fields: dict[str, str]
    absent: tuple[str, ...] = ()

    def column(self, name: str) -> str | None:
        """The column behind a field; `ABSENT` in front of the name where the events do not carry it; None: unknown."""
        known = self.fields.get(name) or _EVERYWHERE.get(name)
        plain = name.replace(".", "_")
        if known is None and plain in COLUMNS:
            known = plain
        return known or (ABSENT + name if name in self.absent else None)

    def names(self) -> list[str]:
        """All fields that a rule may name."""
        return sorted({*self.fields, *_EVERYWHERE, *COLUMNS, *self.absent})


def _linux(service: str | list[str]) -> LogSource:
    return LogSource({"service_name": service}, _PROCESS | _LOGON)


_SYSTEMS = ("windows", "linux", "macos", None)
_AUTHENTICATION = LogSource({"class_uid": LOGON}, _LOGON, _LOGON_ABSENT)
LOG_SOURCES: dict[tuple[str | None, str | None, str | None], LogSource] = {
    **{("process_creation", system, None): LogSource({"class_uid": PROCESS}, _PROCESS, _PROCESS_ABSENT)
       for system in _SYSTEMS},
    **{("network_connection", system, None): LogSource({"class_uid": NETWORK}, _NETWORK, _NETWORK_ABSENT)
       for system in _SYSTEMS},
    **{("dns_query", system, None): LogSource({"class_uid": DNS}, _DNS, _DNS_ABSENT) for system in _SYSTEMS},
    **{("authentication", system, None): _AUTHENTICATION for system in _SYSTEMS},
    ("dns", None, None): LogSource({"class_uid": DNS}, _DNS, _DNS_ABSENT),
    ("firewall", None, None): LogSource({"class_uid": NETWORK}, _NETWORK, (*_NETWORK_ABSENT, "action")),
    **{(category, product, None): LogSource({"class_uid": HTTP}, _WEB, _WEB_ABSENT)
       for category in ("webserver", "proxy") for product in (None, "apache", "nginx")},
    (None, "linux", "sshd"): _linux("sshd"),
    (None, "linux", "auth"): LogSource({"class_uid": LOGON}, _LOGON),
    (None, "linux", "sudo"): _linux("sudo"),
    (None, "linux", "cron"): _linux(["cron", "crond"]),
    (None, "linux", "syslog"): LogSource({}, _PROCESS | _LOGON),
}  # fmt: skip
"""(category, product, service) -> what it is here."""

TACTICS = {
    "reconnaissance": "gathers what helps to plan an attack",
    "resource-development": "gets hold of means for an attack",
    "initial-access": "tries to get in",
    "execution": "runs code of its own",
    "persistence": "makes sure to come back",
    "privilege-escalation": "gains more rights",
    "stealth": "hides what it does",
    "defense-impairment": "weakens the defence",
    "defense-evasion": "avoids to be seen",
    "credential-access": "steals log-ins",
    "discovery": "looks around",
    "lateral-movement": "moves on to other hosts",
    "collection": "gathers what it wants to take",
    "command-and-control": "talks to its masters outside",
    "exfiltration": "carries data out",
    "impact": "destroys or blocks",
}
"""ATT&CK's tactics as rules tag them, and what the attacker does."""


def names_of(key: tuple[str | None, str | None, str | None]) -> str:
    """A log source as people write it: `category: dns`, `product: linux, service: sshd`."""
    return ", ".join(
        f"{what}: {name}" for what, name in zip(("category", "product", "service"), key, strict=True) if name
    )


@dataclass(frozen=True)
class Attack:
    """What a rule's tags say."""

    technique: str | None = None
    tactic: str | None = None
    unknown: tuple[str, ...] = field(default=())


def attack_of(tags: list[str]) -> Attack:
    """Technique (the finest one named) and tactic of tags such as `attack.t1110.001`, `attack.credential-access`."""
    own = [tag.split(".", 1)[1] for tag in tags if tag.startswith("attack.")]
    techniques = [name.upper() for name in own if name[:1] in "tT" and name[1:5].isdigit()]
    others = [name.replace("_", "-") for name in own if name[:1] not in "gsST" or not name[1:5].isdigit()]
    others = [name for name in others if not (name[:1] == "t" and name[1:5].isdigit())]
    tactics = [name for name in others if name in TACTICS]
    finest = max(techniques, key=len, default=None)
    return Attack(finest, tactics[0] if tactics else None, tuple(name for name in others if name not in TACTICS))


def count_id(host: str, at: datetime) -> str:
    """The key of the five minutes of a host's log in which a moment (UTC) lies, such as `web-1@2026-11-20T09:05:00`."""
    return f"{host}@{at.replace(minute=at.minute // 5 * 5, second=0):%Y-%m-%dT%H:%M:%S}"

"""Airflow DAG `incident_response`: every five minutes, turn alerts into triaged incidents, and contain them as far as policy and people allow.

**What it does.** Reads events and connections, each against its contract; runs the Sigma rules and both models side by side;
puts alerts into incidents, which live over runs; looks up addresses, hosts, accounts and how they stand now; has an agent
say what it probably is, checked by rules that can only raise severity; decides by rules; publishes, opens cases; places
the playbook's actions through the action firewall: some go at once, others wait for one or two people, some are
forbidden. Afterwards it looks whether what was done holds.

**Patterns.** *Parallel* (rules, models, look-ups), *state over runs* (`earlier__carried`, `earlier__correlate`), *agent behind rules*, *approval*
(`permits`), *compensation* (`baton undo`), *feedback* (a case's answer is a label).

**When it fails.** A tool or a model that fails holds nothing up: the stage says what stood in (`degraded`), and a repeated run
asks again. A firewall or directory that is down: what it did not get stays in the outbox, the next partition sends it, once.
Too much happens: `baton actions stop` ends all effects at once. Taken back: the case's button, or `baton undo KEY`.
"""

from datetime import timedelta

from baton.airflow.flows import Flow
from baton_packs.incident_response.detection.taxonomy import CARRIED, LOOK_BACK
from baton_packs.incident_response.incidents.incident import COLUMNS

PACK = "baton_packs.incident_response"
DETECTION, INCIDENTS = f"{PACK}.detection.stages", f"{PACK}.incidents"
DAY = 288  # partitions: an event may come so late
PAST = ["incident_id", "hosts", "accounts", "route"]
LOOK_UPS = {"reputation": "indicators", "assets": "known_hosts", "users": "accounts"}
LOOK_UPS |= {"firewall_state": "outside", "account_state": "accounts", "host_state": "known_hosts"}
SHOWN = {"firewall_state": "address", "account_state": "account", "host_state": "host"}
PEERS = {"firewall": ["block_address"], "tickets": ["open_ticket"],
         "directory": ["disable_account", "isolate_host", "rotate_key"]}  # fmt: skip

with Flow(
    "incident_response", pack="incident_response", cron="*/5 * * * *", step="5m", models=["network_intrusion", "log_anomaly"],
    owner="security-operations", tags=["impact:tier1"], doc_md=__doc__,
    deadline_minutes=24 * 60,  # an action may wait for people until the next day
    run_timeout=timedelta(days=2),
    max_active_runs=100,  # one that waits for people holds up no other
) as flow:  # fmt: skip
    arrived = flow.ingest("events")
    events = flow.contract(arrived, "events")
    connections = flow.contract(flow.ingest("connections", also=arrived), "connections")
    before = flow.earlier("carried", list(CARRIED), after=events, partitions=LOOK_BACK)
    found = flow.stage("detect", f"{DETECTION}:detect", events=events, before=before)
    flow.stage("carried", f"{DETECTION}:carried", events=events)  # what the rules of the next partitions count with
    counts = flow.stage("count_logs", f"{DETECTION}:count_logs", events=events)
    traffic = flow.stage("once", f"{DETECTION}:once", data=connections)
    scores = {  # without any version that can be loaded a rule of thumb scores
        "network_intrusion": flow.score(traffic, "network_intrusion", fallback=f"{PACK}.stand_ins:network_intrusion"),
        "log_anomaly": flow.score(counts, "log_anomaly", fallback=f"{PACK}.stand_ins:log_anomaly"),
    }
    said = flow.stage("model_alerts", f"{DETECTION}:model_alerts", connections=traffic, log_counts=counts, **scores)
    alerts = flow.stage("alerts", f"{DETECTION}:join_alerts", output_contract="alerts", rules=found, models=said)

    earlier = flow.earlier("correlate", list(COLUMNS), after=alerts, partitions=DAY)
    incidents = flow.stage("correlate", f"{INCIDENTS}.correlate:stage", alerts=alerts, earlier=earlier)
    gathered = flow.stage("gather", f"{INCIDENTS}.gather:stage", incidents=incidents, events=events)
    looked = {of: flow.look_up(f"look_up__{of}", of, gathered, name, lists=True) for of, name in LOOK_UPS.items()}
    past = flow.earlier("decide", PAST, after=gathered, partitions=DAY)
    weighed = flow.stage("weigh", f"{INCIDENTS}.situation:stage", incidents=gathered, past=past, **looked)
    triage = flow.advise("triage", f"{INCIDENTS}.triage:TRIAGE", conn_id="security_agent", incidents=weighed)
    decided = flow.stage("decide", f"{INCIDENTS}.decide:stage", incidents=weighed, triage=triage, correlated=incidents)
    published = flow.publish(decided, scores, case_routes=["contain", "watch"])

    placed = flow.stage("respond", f"{INCIDENTS}.respond:place", decisions=published)
    permits = flow.permits("permits", after=placed, longest=timedelta(days=1))
    sent = {}
    for after, suffix in ((placed, ""), (permits, "_approved")):
        for part, kinds in PEERS.items():
            sent[f"{part}{suffix}"] = flow.deliver(
                f"send_{part}{suffix}", after=after, effect=kinds, conn_id="ticketing" if part == "tickets" else part,
                endpoint=f"{part}/actions", receipt="action_id", echoes=["action", "target"], later=True,
            )  # fmt: skip
        sent[f"mail{suffix}"] = flow.deliver(
            f"notify{suffix}", after=after, effect="notify", conn_id="outgoing_mail", later=True
        )
    [result.operator for name, result in sent.items() if not name.endswith("_approved")] >> permits.operator
    outcome = flow.stage("outcome", f"{INCIDENTS}.verify:outcome", **sent)
    shown = {tool: flow.look_up(f"verify__{tool}", tool, outcome, column) for tool, column in SHOWN.items()}
    flow.stage("verify", f"{INCIDENTS}.verify:verify", outcome=outcome, **shown)

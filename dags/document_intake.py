"""Airflow DAG `document_intake`: every hour, read what came in, and file, answer, ask back or escalate each document.

**What it does.** Reads the hour's mails, PDFs (with or without a text layer), pictures and texts; checks them against their
contract (what cannot be read goes to quarantine with the reason; what was read in part only, a person sees); classifies
type and intent, and beside that extracts the fields; scores the risk where something is at stake; decides by rules; has an agent word the answers that are not
always the same; publishes, and opens cases; sends what may leave, each answer once. Answers to complaints, and those at
risk or in doubt, wait for a person, who may change the wording or keep single ones back. What is not approved, nor answered
in time, or cannot be sent, is a case of its team.

**Patterns.** *Sequential* (read, check, decide), *parallel* (type, intent, fields), *branch by data* (`stakes`: the risk is
scored only where a document of the hour has an amount, an account, or words that press; elsewhere its reasons say so), *branch by model outcome* (`letters`: the agent is asked only if a decision
needs it), *bounded loop* (draft, critic, redraft, at most twice, inside `draft`), *feedback* (`document_outcomes`).

**What the agent may do.** Word one or two sentences from facts; it sees no personal data, its answer has no recipient,
amount or tool. Without a model server templates answer, marked as such.

**When it fails.** Nothing can be read: the run ends skipped, and the quarantine says why for each document. *send* red:
the mail server refused or could not be reached; nothing is sent twice, a retry sends the rest.
"""

from datetime import timedelta

from baton.airflow.flows import SOME, Flow

PACK = "baton_packs.customer_experience"
STEPS, REPLY = f"{PACK}.intake.stages", f"{PACK}.letters.replies:place"
PAST = ["document_id", "issuer", "invoice_number", "account_number", "total", "currency", "date", "sender"]
LIMITS = {"max_calls": 2, "max_seconds": 20}  # the small local model takes seconds a call, one at a time

with Flow(
    "document_intake",
    pack="customer_experience",
    cron="0 * * * *",
    models=["document_type", "document_intent", "document_risk"],
    owner="document-services",
    tags=["impact:tier2"],
    deadline_minutes=24 * 60,  # an answer may wait for a person until the next day
    run_timeout=timedelta(days=4),
    files=True,
    max_active_runs=100,  # an hour that waits for a person, three days at most, holds up no other
    doc_md=__doc__,
) as flow:
    parsed = flow.stage("parse", f"{PACK}.intake.parse:stage", documents=flow.ingest("documents"))
    documents = flow.contract(parsed, "documents")
    kind = flow.score(documents, "document_type", "text_scores")
    intent = flow.score(documents, "document_intent", "text_scores")
    fields = flow.stage("extract", f"{STEPS}:fields", parsed=documents)

    past = flow.earlier("extract", PAST, after=fields, partitions=1000)
    features = flow.stage("features", f"{STEPS}:features", parsed=documents, fields=fields, past=past)
    flow.branch("stakes", fields, {past.operator.task_id: "at_stake"}) >> past.operator
    risk = flow.score(features, "document_risk")

    decided = flow.stage(
        "decide", f"{STEPS}:decide", trigger_rule=SOME,
        documents=documents, fields=fields, type=kind, intent=intent, risk=risk,
    )  # fmt: skip
    drafts = flow.advise(
        "draft", f"{PACK}.intake.agent:DOCUMENT_REPLY", conn_id="customer_agent", limits=LIMITS,
        decisions=decided, documents=documents,
    )  # fmt: skip
    flow.branch("letters", decided, {"draft": "letters"}) >> drafts.operator
    composed = flow.stage(
        "compose", f"{STEPS}:compose", trigger_rule=SOME, decisions=decided, documents=documents, drafts=drafts
    )
    scores = {"type": kind, "intent": intent, "risk": risk}
    published = flow.publish(composed, scores, case_routes=["escalate"], contract="document_decisions")

    answers = flow.stage("answer", REPLY, decisions=published)
    flow.deliver("send", after=answers, effect="mail", conn_id="outgoing_mail")
    word = flow.review(
        published, field="masked", caption="answer", title="topic", columns=["reasons"],
        card="cases/document_intake/{entity_key}",
        subject="Answers that wait for your word: document intake {partition}",
        body="Personal data stand behind placeholders such as [NAME_1]; leave them where they are. The wording may be changed. "
        "Empty a field to keep that answer back. What is not sent becomes a case.",
    )  # fmt: skip
    reviewed = flow.stage("answer_reviewed", REPLY, decisions=published, answer=word, after=answers)
    flow.deliver("send_reviewed", after=reviewed, effect="mail", conn_id="outgoing_mail")

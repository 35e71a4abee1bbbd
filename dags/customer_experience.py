"""Airflow DAG `customer_experience`: every hour, understand what customers wrote, and reply, suggest or escalate.

**What it does.** Reads the hour's messages against their contract; finds intent (one of 77, or none) and mood side by
side; retrieves the entry of the knowledge base that answers, by its own words and by earlier messages whose intent
people confirmed; has an agent word the reply, citing the entries it used; decides by rules: *send*, *suggest* to the
team, or *escalate* (an angry customer, a regulated topic, an unknown or uncertain intent, no certain entry, no
citation); publishes, and opens a case in the team's queue, with priority, for what a person must see; sends the rest,
each reply once. A suggestion that is accepted on its case leaves with the next hour that has messages.

**Patterns.** *Parallel* (intent, mood), *branch by model outcome* (`replies`: the agent is asked only if a reply is
needed), *bounded loop* (draft, critic, redraft, at most twice, inside `draft`), *feedback* (`customer_outcomes` and the
decisions on cases retrain the intent, and the texts that they confirm help the next hour to find its entries).

**What the agent may do.** Word one or two sentences from the entries that were found. It never sees personal data, and
its answer has no recipient, amount or tool. Without a model server the entry's own words answer, marked as such.

**When it fails.** *contract* red: the hour's delivery is broken. *send* red: the mail server refused or could not be
reached; nothing is sent twice, a retry sends the rest. An hour without messages is skipped, and sends no accepted
suggestion either: clear *reply* and *send* of any hour that had some, if the next one is too far.
"""

from baton.airflow.flows import SOME, Flow

STEPS = "baton_packs.customer_experience.service.stages"
EXAMPLES = 20  # confirmed texts an intent, see `retrieval.EXAMPLES`: more find better but cost time in every run
LIMITS = {"max_calls": 1, "max_seconds": 20}  # the small local model takes seconds a call, one at a time

with Flow(
    "customer_experience",
    pack="customer_experience",
    cron="0 * * * *",
    models=["message_intent", "message_sentiment"],
    owner="customer-care",
    tags=["impact:tier2"],
    deadline_minutes=60,
    doc_md=__doc__,
) as flow:
    messages = flow.contract(flow.ingest("messages"), "messages")
    intent = flow.score(messages, "message_intent", "text_scores")
    mood = flow.score(messages, "message_sentiment", "text_scores")
    known = flow.confirmed("message_intent", ["text"], each=EXAMPLES, after=messages)
    found = flow.stage("retrieve", f"{STEPS}:retrieve", messages=messages, intents=intent, history=known)
    decided = flow.stage("decide", f"{STEPS}:decide", messages=messages, intent=intent, sentiment=mood, found=found)
    drafts = flow.advise(
        "draft", "baton_packs.customer_experience.service.agent:CUSTOMER_REPLY", conn_id="customer_agent", limits=LIMITS,
        decisions=decided, messages=messages, found=found,
    )  # fmt: skip
    flow.branch("replies", decided, {"draft": "answers"}) >> drafts.operator
    composed = flow.stage(
        "compose", f"{STEPS}:compose", trigger_rule=SOME, decisions=decided, found=found, drafts=drafts
    )
    published = flow.publish(
        composed,
        {"intent": intent, "sentiment": mood},
        case_routes=["suggest", "escalate"],
        contract="customer_decisions",
    )
    replies = flow.stage("reply", "baton_packs.customer_experience.letters.replies:place", decisions=published)
    flow.deliver("send", after=replies, effect="mail", conn_id="outgoing_mail")

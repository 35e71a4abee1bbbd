"""Changes of a pack's files: which content is in force, and the request that another one becomes it.

A contract, prompt, agent or table of rules is used as people agreed to it. A file that says something else is not used, nor is
what it said before: the stage fails and asks, until enough people agreed to exactly this content. Their last vote uses the permit
up and records the new content, in one transaction. A file that is gone, or new beside others that a pack's code reads, is a change
like another. What was never recorded otherwise is in force from its first use: that happens once for a name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import Connection

from baton.actions import admission, assets, permits, policy, requests, switch, votes
from baton.actions.action import Action
from baton.actions.requests import APPROVED, CHANGE, REFUSED, WITHDRAWN, Origin, Request
from baton.errors import BatonError, NotAgreed, RegistryRefused, SpecError
from baton.governance import content, duties
from baton.governance.assets import TABLES, find
from baton.governance.content import Named, id_of
from baton.packs.pack import find_pack, is_installed, pack_folder, packs
from baton.record import warehouse
from baton.settings import SINGLE, settings
from baton.specs.actions import ActionsSpec

VOID = "the file, what is in force, or the policy changed since it was asked"
FIRST_USE, ALONE, AGREED = (
    "first use: nothing of this name was ever recorded",
    "one person runs the installation",
    "agreed",
)


@dataclass(frozen=True)
class Agreed:
    """What somebody works by, as it was when they began, and is in force; empty: by nothing that people agree to."""

    wanted: tuple[Named, ...] = ()
    digests: Mapping[Named, str] | None = None

    def require_unchanged(self, user: str) -> None:
        """Before what was made is named: it was made by what people agreed to, from the first row to the last.

        Raises:
            NotAgreed: a file was changed, added or deleted meanwhile.
        """
        known = self.digests or {}
        now = {one: content.now_of(one).digest for one in dict.fromkeys([*known, *content.on_disk(self.wanted)])}
        # what was not there has no digest, and is as it was if it still is not
        if moved := [id_of(one) for one, digest in now.items() if known.get(one, content.GONE.digest) != digest]:
            raise NotAgreed(
                f"{user}: {', '.join(sorted(moved))} changed while it ran, so nobody can tell what it worked by: nothing was committed. "
                "Clear the task once the file is the one that is in force"
            )


def require(wanted: Collection[Named], user: str, flow: str = "") -> Agreed:
    """Let nobody work with a file that is not in force; its pack's governance.yaml is always among them.

    One read by the ledger's index. What nobody ever recorded, and any change where one person runs the installation, is recorded
    in a transaction of its own; about anything else people are asked in it, if a flow wants it.

    Args:
        wanted: what is going to be used.
        user: who uses it, for the error, such as `stage orders.contract`.
        flow: whose stage it is: it asks. Empty: nobody does.

    Raises:
        NotAgreed: a file says something else than what is in force; names each, both digests and what to do.
        SpecError: a file cannot be read.
    """
    wanted = (*wanted, *(_governance(pack) for pack in dict.fromkeys(one[0] for one in wanted)))
    with warehouse.read() as conn:
        known = content.settled_names(conn, wanted)
    now = {one: _now(one, before) for one, before in known.items()}
    differ = {one: said for one, said in now.items() if said is not None and not _same(known[one], said)}
    if differ and (refused := warehouse.transact(lambda conn: _settle(conn, wanted, differ, flow))):
        raise NotAgreed(_words(refused, user))
    return Agreed(wanted, {one: said.digest for one, said in now.items() if said is not None})


def policy_in_force(conn: Connection, pack: str | Path, flow: str = "") -> ActionsSpec | None:
    """The actions of a pack as `policy.load` has them, of the file that people agreed to; see `require`.

    In the caller's transaction, which has the turn of `switch.TURNS`. A folder that is no installed pack is somebody's draft.

    Args:
        flow: it asks about a file that is not in force, if the caller commits all the same.
    """
    if isinstance(pack, str) and pack.startswith(assets.KINDS):
        return policy.load(pack, conn)
    name, folder = find_pack(pack)
    if not is_installed(name) or pack_folder(name).resolve() != folder.resolve():
        return policy.load(pack, conn)
    spec, text = policy.read(folder)
    one: Named = (name, "rules", policy.FILE.removesuffix(".yaml"))
    known = content.settled_names(conn, [one])
    said = content.GONE if text is None else content.told(folder / policy.FILE, text)
    if known[one] is None and text is None:
        return spec  # it never had one: all is forbidden
    if not _same(known[one], said) and (refused := _settle(conn, [one], {one: said}, flow)):
        raise NotAgreed(_words(refused, "the action firewall"))
    return spec


def _governance(pack: str) -> Named:
    return pack, "rules", content.GOVERNANCE


def _now(one: Named, before: content.InForce | None) -> content.FileContent | None:
    """What is there; None: a pack that never had such a table. Without governance.yaml nobody answers for what it has.

    Raises:
        SpecError: it cannot be read, or was never there.
    """
    now = content.now_of(one)
    if before is None and now.digest == content.GONE.digest:
        if one[1] == "rules" and one[2] in (*TABLES, content.GOVERNANCE):
            return None
        content.file_of(one)
    return now


def _same(known: content.InForce | None, now: content.FileContent) -> bool:
    return known is not None and now.digest == known.digest


def _settle(
    conn: Connection, wanted: Collection[Named], differ: Mapping[Named, content.FileContent], flow: str
) -> list[str]:  # fmt: skip
    """Record what may be recorded without asking; asks about the others, and says of them why not."""
    warehouse.take_turns(conn, switch.TURNS)
    known, refused = content.settled_names(conn, [*wanted, *differ]), []
    for one, now in differ.items():
        asset, before = id_of(one), known[one]
        if before is None:
            content.put_in_force(conn, asset, now, None, FIRST_USE)
        elif before.digest != now.digest and settings().governance == SINGLE:
            content.put_in_force(conn, asset, now, before, ALONE)
        elif before.digest != now.digest:
            refused.append(
                f"{asset}: in force is {_short(before.digest)}, its file says {_short(now.digest)}; {_asked(conn, one, now, flow)}"
            )
    return refused


def _short(digest: str) -> str:
    return "nothing of that name" if digest == content.GONE.digest else digest[:16]


def _asked(conn: Connection, one: Named, now: content.FileContent, flow: str) -> str:
    """Which request is about it: the one that people have, or one of the flow's own."""
    asset, at = id_of(one), warehouse.now()
    former = [each for each in requests.of_effect(conn, _key(asset)) if each.action["payload"].get("to") == now.digest]
    if found := next((each for each in former if each.is_open(at)), None):
        return f"request {found.id} about it is open"
    if former and former[0].state == REFUSED:
        return f"request {former[0].id} about it was refused ({former[0].note}): `baton change ask {asset}` asks again"
    if not flow:
        return f"`baton change ask {asset}` asks for it"
    try:
        origin, action = change(conn, asset, f"flow:{flow}")
    except RegistryRefused as error:
        return str(error)
    if action.payload["to"] != now.digest:
        return "its file changes in this moment: clear the task once it is whole"
    admitted = admission.admit(conn, _barring(origin, action, former), action, policy.load(origin.pack, conn))
    return f"request {admitted.request} about it is open"


def _barring(origin: Origin, action: Action, former: Sequence[Request]) -> Origin:
    """Whoever asked for this content once may not agree to it, whoever asks now."""
    at = warehouse.now()
    over = [one for one in former if not one.is_open(at) and one.action["payload"] == action.payload]
    return replace(origin, barred={one.requester: "asked for it before" for one in over})


def _words(refused: Sequence[str], user: str) -> str:
    return (
        f"{user} uses what nobody agreed to, and works with neither the old nor the new: {'; '.join(refused)}. People agree on the page "
        "Actions or with `baton actions approve NUMBER`; clear the task once enough of them did, or bring the file back"
    )


def _key(asset: str) -> str:
    return f"{CHANGE}{assets.EDIT}:{asset}"


def resolved(conn: Connection, asset: str) -> Named:
    """Which file an asset is, by its id: one that is there, or that the ledger knows. Raises SpecError: there is none, or it is none."""
    one = content.of_id(asset)
    if one is None:
        found = find(asset)
        one = (found.pack, found.kind, found.name)
    if one[1] == "rules" and one[2] in content.NOT_ASKED:
        more = "a raise is asked about by the run that needs it" if one[2] == "budgets" else "it holds as it is written"
        raise SpecError(f"{id_of(one)}: nobody is asked about this file: {more}")
    if one != _governance(one[0]) and not content.in_force(conn, [id_of(one)]):
        find(
            id_of(one)
        )  # whoever answers for it; governance.yaml answers for the others, and is answered for by two people
    return one


def change(conn: Connection, asset: str, requester: str = "") -> tuple[Origin, Action]:
    """The change as it would be now, of which people are asked.

    Args:
        requester: a person, or `flow:<flow>`, whose stage found it: then nobody knows who wrote the file, and two others agree.

    Raises:
        RegistryRefused: the file is not there, or says what is in force already.
    """
    try:
        one = resolved(conn, asset)
        full = id_of(one)
        before = content.settled_names(conn, [one])[one]
        now = content.now_of(one)
        if before is None:
            content.file_of(one)
    except SpecError as error:
        raise RegistryRefused(f"{asset}: nothing to agree to: {error}") from error
    if before is None:
        raise RegistryRefused(
            f"{full}: nothing of it is in force yet: what its file says is from its first use, and recorded"
        )
    if before.digest == now.digest:
        raise RegistryRefused(f"{full}: the file says what is in force ({now.digest[:16]}): nothing to agree to")
    old, new = content.difference(conn, before, now)
    moved = {"from": before.digest, "to": now.digest}
    where = "file is gone"
    if now.digest != content.GONE.digest:
        where = f"file {content.file_of(one).relative_to(pack_folder(one[0])).as_posix()}"
    evidence = [where, f"in force since ledger entry {before.entry}" if before.entry else before.how]
    kind = assets.FOUND if requester.startswith("flow:") else assets.EDIT
    action = Action(kind, full, full, moved, evidence=evidence, before=old, after=new)
    return Origin(_key(full), "", "", full, requester), action


def ask(asset: str, requester: str, reason: str = "") -> Request:
    """Ask people to agree to what an asset's file says now, in a transaction of its own.

    Asked about the same, it is the same request with its votes. Once it is over, or the file is another, it is another one, and
    what was said before is void; who asked for this content once may not agree to it.

    Raises:
        RegistryRefused: there is nothing to agree to.
        BatonError: nobody knows who asks, they lack the duty `modify`, one person runs the installation, or nobody may at all.
    """

    def work(conn: Connection) -> Request:
        warehouse.take_turns(conn, switch.TURNS)
        if settings().governance == SINGLE:
            raise BatonError(
                f"{asset}: one person runs this installation: a changed file is in force from its first use"
            )
        if why := votes.flaw(votes.Voter(requester), ""):
            raise BatonError(f"{asset}: not asked: {why}")
        origin, action = change(conn, asset, requester)
        duties.require(conn, origin.pack, "modify", duties.Who(requester))
        former = requests.of_effect(conn, origin.effect)
        for one in former:  # asked by name, it is asked again
            requests.close(conn, one, WITHDRAWN, "it is asked for again", REFUSED)
        origin = _barring(origin, action, former)
        asked = admission.admit(conn, origin, action, policy.load(origin.pack, conn)).request
        assert asked is not None  # the policy of an asset lets nothing through by itself
        if reason and all(one.id != asked for one in former):
            requests.explain(conn, asked, f"{requester}: {reason}")
        return requests.find(conn, asked)

    return warehouse.transact(work)


def note(conn: Connection, request: Request) -> None:
    """Of a request that was approved just now: use its permit up, and record the content that is in force from now on.

    Raises:
        VoteRefused: the file changed in this moment, and nothing of the vote counts.
    """
    if request.state != APPROVED:
        return
    try:
        origin, action = change(conn, request.pack, request.requester)
    except RegistryRefused as error:
        raise votes.VoteRefused(f"request {request.id}: {error}") from error
    now = policy.policy_digest(policy.load(origin.pack, conn), action.kind)
    verdict = permits.consume(conn, origin, action, now, once=True)
    one = resolved(conn, request.pack)
    told = content.now_of(one)
    if verdict.permit is None or told.digest != action.payload["to"]:
        raise votes.VoteRefused(f"request {request.id}: {verdict.why or VOID}: it has to be asked anew")
    by = [name for name, _ in votes.of(conn, request, votes.APPROVE)]
    before = content.settled_names(conn, [one])[one]
    more = {"requester": request.requester, "request": request.id, "permit": verdict.permit}
    content.put_in_force(conn, request.pack, told, before, AGREED, by, **more)


def pending() -> list[tuple[str, str, str]]:
    """Files of the packs that say something else than what is in force: asset, digest in force, digest of the file.

    Of one that is gone, or new where a pack's code reads all there are, a digest is `content.GONE`'s.
    """
    wanted = [one for pack in packs() for one in (*content.read_by_code(pack), *content.named(pack))]
    with warehouse.read() as conn:
        known = content.settled_names(conn, wanted)
    now = {one: content.now_of(one).digest for one, before in known.items() if before is not None}
    return [
        (id_of(one), before.digest, now[one]) for one, before in known.items() if before and before.digest != now[one]
    ]

"""Changes of a pack's files: which content is in force, and the request that another one becomes it.

A contract, prompt, agent or table of rules is used as people agreed to it. A file that says something else is not used, nor is
what it said before: the stage fails, until enough people agreed to exactly this content. Their last vote uses the permit up and
records the new content, in one transaction. What was never recorded is in force from its first use: that happens once for a name.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy.engine import Connection

from baton.actions import admission, assets, permits, policy, requests, switch, votes
from baton.actions.action import Action
from baton.actions.requests import APPROVED, CHANGE, OPEN, REFUSED, WITHDRAWN, Origin, Request
from baton.errors import BatonError, NotAgreed, RegistryRefused, SpecError
from baton.governance import content, duties
from baton.governance.assets import FILE, find
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


def require(wanted: Collection[Named], user: str) -> None:
    """Let nobody work with a file that is not in force; its pack's governance.yaml is always among them.

    One read by the ledger's index and, of a file that did not change, no reading of it. What nobody ever recorded, and any change
    where one person runs the installation, is recorded in a transaction of its own.

    Args:
        wanted: what is going to be used.
        user: who uses it, for the error, such as `stage orders.contract`.

    Raises:
        NotAgreed: a file says something else than what is in force; names each, both digests and what to do.
        SpecError: a file cannot be read.
    """
    packs_of = {
        pack for pack, _, _ in wanted
    }  # one without governance.yaml: nobody answers for what it has, `baton lint` says so
    answers = [_governance(pack) for pack in packs_of if (pack_folder(pack) / FILE).is_file()]
    with warehouse.read() as conn:
        differ = _differ(conn, [*wanted, *answers])
    if differ and (refused := warehouse.transact(lambda conn: _settle(conn, differ))):
        raise NotAgreed(_words(refused, user))


def policy_in_force(conn: Connection, pack: str | Path) -> ActionsSpec | None:
    """The actions of a pack as `policy.load` has them, of the file that people agreed to; see `require`.

    In the caller's transaction, which has the turn of `switch.TURNS`. A folder that is no installed pack is somebody's draft.
    """
    spec = policy.load(pack)
    if spec is None or (isinstance(pack, str) and pack.startswith(assets.KINDS)):
        return spec
    name, folder = find_pack(pack)
    if is_installed(name) and pack_folder(name).resolve() == folder.resolve():
        differ = _differ(conn, [(name, "rules", policy.FILE.removesuffix(".yaml"))])
        if refused := _settle(conn, differ):
            raise NotAgreed(_words(refused, "the action firewall"))
    return spec


def _governance(pack: str) -> Named:
    return pack, "rules", content.GOVERNANCE


def _differ(conn: Connection, wanted: Collection[Named]) -> list[Named]:
    known = content.in_force(conn, [id_of(one) for one in wanted])
    return [one for one in dict.fromkeys(wanted) if not _same(known.get(id_of(one)), one)]


def _same(known: content.InForce | None, one: Named) -> bool:
    return content.read(content.file_of(one)).digest == (known.digest if known else None)


def _settle(conn: Connection, differ: Collection[Named]) -> list[str]:
    """Record what may be recorded without asking; says of the others why not."""
    if not differ:
        return []
    warehouse.take_turns(conn, switch.TURNS)
    known, refused = content.in_force(conn, [id_of(one) for one in differ]), []
    for one in differ:
        asset, now = id_of(one), content.read(content.file_of(one))
        before = known.get(asset)
        if before is None:
            content.put_in_force(conn, asset, now, None, FIRST_USE)
        elif before.digest != now.digest and settings().governance == SINGLE:
            content.put_in_force(conn, asset, now, before, ALONE)
        elif before.digest != now.digest:
            asked = [one.id for one in requests.of_effect(conn, _key(asset)) if one.is_open(warehouse.now())]
            waits = f"; request {asked[0]} about it is open" if asked else ""
            refused.append(f"{asset}: in force is {before.digest[:16]}, its file says {now.digest[:16]}{waits}")
    return refused


def _words(refused: Sequence[str], user: str) -> str:
    ask = ", ".join(f"`baton change ask {one.partition(': in force')[0]}`" for one in refused)
    return (
        f"{user} uses what nobody agreed to, and works with neither the old nor the new: {'; '.join(refused)}. Ask for it with {ask}, "
        "and clear the task once enough people agreed; or bring the file back"
    )


def _key(asset: str) -> str:
    return f"{CHANGE}{assets.EDIT}:{asset}"


def resolved(asset: str) -> Named:
    """Which file an asset is, by its id. Raises SpecError: there is none, or it is no file of its own."""
    if one := next((_governance(pack) for pack in packs() if id_of(_governance(pack)) == asset), None):
        return one  # answers for the others, and is answered for by two people
    found = find(asset)
    return found.pack, found.kind, found.name


def change(conn: Connection, asset: str, requester: str = "") -> tuple[Origin, Action]:
    """The change as it would be now, of which people are asked.

    Raises:
        RegistryRefused: the file is not there, or says what is in force already.
    """
    try:
        one = resolved(asset)
        path, full = content.file_of(one), id_of(one)
        now = content.read(path)
    except SpecError as error:
        raise RegistryRefused(f"{asset}: nothing to agree to: {error}") from error
    before = content.in_force(conn, [full]).get(full)
    if before is None:
        raise RegistryRefused(
            f"{full}: nothing of it is in force yet: what its file says is from its first use, and recorded"
        )
    if before.digest == now.digest:
        raise RegistryRefused(f"{full}: the file says what is in force ({now.digest[:16]}): nothing to agree to")
    old, new = content.difference(conn, before, now)
    moved = {"from": before.digest, "to": now.digest}
    evidence = [
        f"file {path.relative_to(pack_folder(one[0])).as_posix()}",
        f"in force since ledger entry {before.entry}",
    ]
    action = Action(assets.EDIT, full, full, moved, evidence=evidence, before=old, after=new)
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
        over = [one for one in former if one.state != OPEN and one.action["payload"] == action.payload]
        barred = {one.requester: "asked for it before" for one in over}
        origin = Origin(origin.effect, "", "", origin.pack, requester, barred=barred)
        asked = admission.admit(conn, origin, action, policy.load(origin.pack)).request
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
        origin, action = change(conn, request.pack)
    except RegistryRefused as error:
        raise votes.VoteRefused(f"request {request.id}: {error}") from error
    now = policy.policy_digest(policy.load(origin.pack), action.kind)
    verdict = permits.consume(conn, origin, action, now, once=True)
    told = content.read(content.file_of(resolved(request.pack)))
    if verdict.permit is None or told.digest != action.payload["to"]:
        raise votes.VoteRefused(f"request {request.id}: {verdict.why or VOID}: it has to be asked anew")
    by = [name for name, _ in votes.of(conn, request, votes.APPROVE)]
    before = content.in_force(conn, [request.pack])[request.pack]
    more = {"requester": request.requester, "request": request.id, "permit": verdict.permit}
    content.put_in_force(conn, request.pack, told, before, AGREED, by, **more)


def pending() -> list[tuple[str, str, str]]:
    """Files of the packs that say something else than what is in force: asset, digest in force, digest of the file."""
    found = {id_of(one): content.read(content.file_of(one)).digest for pack in packs() for one in content.named(pack)}
    with warehouse.read() as conn:
        known = content.in_force(conn, found)
    return [
        (asset, known[asset].digest, now)
        for asset, now in found.items()
        if known.get(asset) and known[asset].digest != now
    ]

"""Who may use a model: the flows that its pack lists as consumers, and the model's own DAGs. Any other is refused, by name."""

from baton.errors import RegistryRefused, SpecError
from baton.governance.assets import find, place
from baton.governance.content import require_governance
from baton.names import monitor_of, promote_of, scoring_of, train_of
from baton.packs.pack import find_model
from baton.record import warehouse


def require_consumer(model: str, consumer: str) -> None:
    """Refuse whoever is not listed; a model that no pack has, or that nobody answers for, is for its own DAGs alone.

    Nobody answers for it, too, while its pack's governance.yaml is not the one that people agreed to.

    Args:
        consumer: DAG id of the flow, or of one of the model's own DAGs.

    Raises:
        RegistryRefused: saying who owns the model, and which line of which file would have to name the consumer.
    """
    if consumer in (train_of(model), promote_of(model), monitor_of(model)):
        return
    try:
        if consumer == scoring_of(model) and find_model(model)[1].scoring is not None:
            return
        asset = find(f"model:{model}")
        with warehouse.read() as conn:
            require_governance(conn, asset.pack)
    except SpecError as error:
        raise RegistryRefused(f"flow {consumer} may not use model {model}: {error}") from error
    if consumer not in asset.terms.consumers:
        said = ", ".join(asset.terms.consumers) or "none"
        raise RegistryRefused(
            f"flow {consumer} may not use model {model}: its consumers are {said}. Ask its owner {asset.terms.owner} (or the deputy "
            f"{asset.terms.deputy}) to add {consumer} to `consumers` at {place(asset, 'consumers')}"
        )

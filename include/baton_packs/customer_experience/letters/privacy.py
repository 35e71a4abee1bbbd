"""Names in free text, for masking: everybody who is named, whether a customer on file or somebody else."""

from functools import lru_cache

from baton.errors import BatonError
from baton_packs.customer_experience.fields.names import find_names


@lru_cache(maxsize=256)  # entries and field names stand in every case; the model takes about 15 ms a kilobyte
def names(text: str) -> tuple[tuple[int, int, str], ...]:
    """(start, end, NAME) of persons named in a text, by the language model and by greetings and signatures.

    Raises:
        BatonError: the model cannot be loaded: rules alone are not enough to hide names.
    """
    found = find_names([text], [""], whole=True)[0]
    if any(one.field == "names_by_rules_only" for one in found):
        raise BatonError("names cannot be masked: the language model of `names` cannot be loaded; run `make setup`")
    return tuple((one.start, one.end, "NAME") for one in found if one.field == "person")


def known(value: object) -> list[str]:
    """A value on record as a mask takes it; none where there is none."""
    return [value] if isinstance(value, str) and value else []

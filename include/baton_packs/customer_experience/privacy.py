"""Names in free text, for masking: everybody who is named, whether a customer on file or somebody else."""

from __future__ import annotations

from collections.abc import Iterator


def names(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, NAME) of persons named in a text, by the language model and by greetings and signatures."""
    from baton_packs.customer_experience.names import find_names

    for found in find_names([text], [""], whole=True)[0]:
        if found.field == "person":
            yield found.start, found.end, "NAME"

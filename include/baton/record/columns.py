"""Columns of a table in short, for the declared tables and for the revisions that build them."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, Integer, Text

# SQLite numbers rows by itself only in a column of type INTEGER
_SERIAL = BigInteger().with_variant(Integer, "sqlite")
_KINDS: dict[str, Any] = {"": Text, "int": Integer, "big": BigInteger, "float": Float, "json": JSON}
_KINDS |= {"id": _SERIAL, "number": _SERIAL}


def columns(short: str) -> list[Column[Any]]:
    """Reads `"id:id* flow* version:int note?"`: text but for a kind; `*`: of the primary key, `?`: may be null.

    Kinds: int, big (64 bits), float, json, id (numbered by the database), number (64 bits, numbered by us).
    """
    made = []
    for word in short.split():
        name, _, kind = word.rstrip("*?").partition(":")
        key = word.endswith("*")
        counted: Any = "auto" if kind == "id" else False
        made.append(Column(name, _KINDS[kind], primary_key=key, nullable=word.endswith("?"), autoincrement=counted))
    return made

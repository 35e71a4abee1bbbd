"""Who answers for what a pack has: `governance.yaml`, by kind and name of an asset, with a default for those that it does not name."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema, model_validator

from baton.specs.base import Name, Seq, Spec

AssetKind = Literal["model", "prompt", "agent", "contract", "rules", "flow", "source", "effect"]
Impact = Literal["low", "medium", "high"]
ASSET_KINDS: tuple[AssetKind, ...] = get_args(AssetKind)
VOTES: dict[Impact, int] = {"low": 1, "medium": 2, "high": 2}  # a pack may ask for more of these, never for fewer


def _date(text: object) -> object:
    """YAML is read without dates: they stay the text that was written."""
    if not isinstance(text, str):
        return text
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError('should be a date such as "2027-06-30"') from None


Day = Annotated[
    date,
    BeforeValidator(_date),
    PlainSerializer(lambda day: day.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2027-06-30"]}),
]
LoginName = Annotated[str, StringConstraints(pattern=r"^[^\s:/]{1,128}$")]
AssetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_./-]{0,127}$")]


@dataclass(frozen=True)
class AssetTerms:
    """What holds for one asset, with what it inherits."""

    owner: str
    deputy: str
    impact: Impact
    intended_use: str
    review: date
    consumers: tuple[str, ...]
    votes: int


class AssetTermsSpec(Spec):
    """What is said of an asset; what is not said is the default's."""

    owner: LoginName | None = Field(default=None, description="log-in name of who answers for it, and may approve it")
    deputy: LoginName | None = Field(default=None, description="log-in name of who does it in the owner's absence")
    impact: Impact | None = Field(default=None, description="what a mistake of it would cost")
    intended_use: str | None = Field(default=None, min_length=1, description="what it is for, in a sentence")
    review: Day | None = Field(default=None, description="day until which somebody looks at it again")
    consumers: Seq[Name] | None = Field(
        default=None, description="flows that may use it; of a model any other is refused"
    )
    votes: int | None = Field(
        default=None, ge=1, le=2, description="people who have to agree to a change; without: 1 of low impact, else 2"
    )

    def over(self, default: "AssetTermsSpec | None") -> dict[str, object]:
        """What is said here and, where nothing is, in the default; None where neither says it."""
        below = default or AssetTermsSpec()
        return {
            name: own if (own := getattr(self, name)) is not None else getattr(below, name)
            for name in type(self).model_fields
        }


class GovernanceSpec(Spec):
    """The file governance.yaml: `default`, then by kind and name what differs from it."""

    default: AssetTermsSpec | None = Field(
        default=None, description="what holds for every asset that says nothing else"
    )
    model: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by the model's name")
    prompt: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by the file's name below prompts/")
    agent: dict[AssetName, AssetTermsSpec] = Field(
        default={}, description="by the name of the file with its instructions"
    )
    contract: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by the contract's name")
    rules: dict[AssetName, AssetTermsSpec] = Field(
        default={},
        description="`actions`, `budgets`, `retention`, `tools`, or a file of rules by its path in the pack, such as policy/limits",
    )
    flow: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by DAG id")
    source: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by its name in sources.yaml")
    effect: dict[AssetName, AssetTermsSpec] = Field(default={}, description="by the action's name in actions.yaml")

    def entries(self, kind: AssetKind) -> dict[str, AssetTermsSpec]:
        """What is said by name of the assets of a kind."""
        found: dict[str, AssetTermsSpec] = getattr(self, kind)
        return found

    def terms(self, kind: AssetKind, name: str) -> AssetTerms | None:
        """What holds for an asset; None: it is not named, and there is no default."""
        entry = self.entries(kind).get(name)
        if entry is None and self.default is None:
            return None
        return _terms((entry or AssetTermsSpec()).over(self.default))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        named = [(f"{kind}.{name}", one) for kind in ASSET_KINDS for name, one in self.entries(kind).items()]
        for at, entry in [*named, *([("default", AssetTermsSpec())] if self.default else [])]:
            values = entry.over(self.default)
            missing = [key for key, value in values.items() if value is None and key not in ("consumers", "votes")]
            if missing:
                none = "" if at == "default" else ", here and in `default`"
                raise ValueError(f"{at}: {', '.join(missing)} is missing{none}")
            if values["owner"] == values["deputy"]:
                raise ValueError(f"{at}: owner and deputy are both `{values['owner']}`: name another person as deputy")
            said = (self.default.votes if self.default else None) if at == "default" else entry.votes
            least = VOTES[_terms(values).impact]
            if said is not None and said < least:
                raise ValueError(
                    f"{at}: votes: {said} is fewer than impact {values['impact']} asks for, which is {least}; leave it out or raise it"
                )
        return self


def _terms(values: dict[str, object]) -> AssetTerms:
    impact: Impact = values["impact"]  # type: ignore[assignment]
    votes: int = values["votes"] or 0  # type: ignore[assignment]
    whole = {**values, "consumers": values["consumers"] or (), "votes": max(votes, VOTES[impact])}
    return AssetTerms(**whole)  # type: ignore[arg-type]

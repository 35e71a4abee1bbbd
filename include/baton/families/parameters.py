"""What the estimators of the allow-list take: names and values of `params`, read from the installed libraries' sources.

Importing scikit-learn and statsforecast takes seconds; `baton lint` and training ask here before they do. A rule that this
module cannot read lets a value pass: the library then has the last word.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baton.errors import ModelError

Rules = tuple[ast.expr, ...]  # a value must keep one of them; none: any value
Class = tuple[str, ast.ClassDef]  # module, class

_CONSTRAINTS = "_parameter_constraints"  # where scikit-learn's classes say what a value may be
_FILLED = ("season_length",)  # from data.seasons, see forecast.methods.local
# LightGBM's classes take any word, and say nothing of values: what its documentation says, in scikit-learn's words
_SHARE, _NOT_NEGATIVE = "Interval(Real, 0, 1, closed='right')", "Interval(Real, 0, None, closed='left')"
_POSITIVE, _COUNT = "Interval(Real, 0, None, closed='neither')", "Interval(Integral, 1, None, closed='left')"
_BOOSTING = {
    "boosting_type": "StrOptions({'gbdt', 'dart', 'rf'})", "num_leaves": "Interval(Integral, 2, 131072, closed='both')",
    "learning_rate": _POSITIVE, "n_estimators": _COUNT, "subsample_for_bin": _COUNT, "min_split_gain": _NOT_NEGATIVE,
    "min_child_weight": _NOT_NEGATIVE, "min_child_samples": "Interval(Integral, 0, None, closed='left')",
    "subsample": _SHARE, "subsample_freq": "Integral", "colsample_bytree": _SHARE, "reg_alpha": _NOT_NEGATIVE,
    "reg_lambda": _NOT_NEGATIVE, "alpha": _POSITIVE, "bagging_seed": "Integral", "cat_l2": _NOT_NEGATIVE,
    "cat_smooth": _NOT_NEGATIVE, "extra_trees": "'boolean'", "feature_fraction_bynode": _SHARE,
    "max_bin": "Interval(Integral, 2, None, closed='left')", "max_delta_step": "Real", "min_data_in_bin": _COUNT,
    "neg_bagging_fraction": _SHARE, "path_smooth": _NOT_NEGATIVE, "pos_bagging_fraction": _SHARE,
    "scale_pos_weight": _POSITIVE, "tweedie_variance_power": "Interval(Real, 1, 2, closed='left')",
}  # fmt: skip


def mistakes(path: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What an estimator would refuse of its `params`, or pass over without a word.

    Args:
        path: dotted path of the allow-list.

    Returns:
        argument (empty: one is missing), what is wrong, what is allowed; nothing where all is well.

    Raises:
        ModelError: the library is not installed, or keeps the class elsewhere.
    """
    (known, needed), name = taken(path), path.rpartition(".")[2]
    for argument in needed:
        if argument not in params:
            yield "", f"{name} needs `{argument}`", ""
    for argument, value in params.items():
        rules = known.get(argument)
        if rules is None:
            yield argument, f"{name} has no argument `{argument}`", ", ".join(known)
        elif rules and not any(_keeps(rule, value) for rule in rules):
            words = dict.fromkeys(filter(None, map(_words, rules)))
            yield argument, f"{argument} of {name} cannot be {value!r}", " or ".join(words)


def refuse(candidate: str, path: str, params: Mapping[str, Any]) -> None:
    """Stops a training that would fail later, or go on without an argument.

    Raises:
        ModelError: names each of the `mistakes` in a candidate's params.
    """
    found = [f"{wrong} (allowed: {allowed})" if allowed else wrong for _, wrong, allowed in mistakes(path, params)]
    if found:
        raise ModelError(f"candidate {candidate!r}: params: {'; '.join(found)}")


@cache
def taken(path: str) -> tuple[dict[str, Rules], tuple[str, ...]]:
    """Arguments of an estimator -> what their values may be; those without a default that nobody but the spec gives.

    Raises:
        ModelError: the library is not installed, or keeps the class elsewhere.
    """
    module, _, name = path.rpartition(".")
    found = _class(module, name)
    if found is None:
        raise ModelError(f"{path}: its source was not found; install Baton's requirements again")
    given = _init(*found)
    plain = given.args[1:]
    rules = {one.arg: _annotated(one.annotation) for one in (*plain, *given.kwonlyargs)}
    needed = [one.arg for one in plain[: len(plain) - len(given.defaults)] if one.arg not in _FILLED]
    if module == "lightgbm":
        rules |= {argument: (ast.parse(rule, mode="eval").body,) for argument, rule in _BOOSTING.items()}
    else:
        stated = _constraints(*found)
        rules = {argument: stated.get(argument, annotated) for argument, annotated in rules.items()}
    return rules, tuple(needed)


def _init(module: str, made: ast.ClassDef) -> ast.arguments:
    """Arguments of the nearest `__init__`, `self` first."""
    for line in made.body:
        if isinstance(line, ast.FunctionDef) and line.name == "__init__":
            return line.args
    found = (_init(*base) for base in _bases(module, made))
    return next((given for given in found if given.args), ast.arguments([], [ast.arg("self")], None, [], [], None, []))


def _constraints(module: str, made: ast.ClassDef) -> dict[str, Rules]:
    """The nearest `_parameter_constraints`, with those it takes over from other classes."""
    for line in made.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == _CONSTRAINTS:
            return _dict(module, line.value)
    found: dict[str, Rules] = {}
    for base in _bases(module, made):
        found = found or _constraints(*base)
    return found


def _dict(module: str, written: ast.expr | None) -> dict[str, Rules]:
    found: dict[str, Rules] = {}
    if isinstance(written, ast.Dict):
        for key, value in zip(written.keys, written.values, strict=True):
            if key is None and isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
                other = _class(module, value.value.id)
                found |= _constraints(*other) if other is not None else {}
            elif isinstance(key, ast.Constant) and isinstance(value, ast.List):
                found[str(key.value)] = tuple(value.elts)
    return found


def _bases(module: str, made: ast.ClassDef) -> Iterator[Class]:
    for base in made.bases:
        found = _class(module, base.id) if isinstance(base, ast.Name) else None
        if found is not None:
            yield found


@cache
def _class(module: str, name: str) -> Class | None:
    """The class that a module defines or imports under a name."""
    body, package = _body(module)
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
    for inner in (one for line in body for one in ast.walk(line)):
        if isinstance(inner, ast.ImportFrom) and any((one.asname or one.name) == name for one in inner.names):
            parts = module.split(".")
            above = parts[: len(parts) + package - inner.level] if inner.level else []
            return _class(".".join([*above, *filter(None, [inner.module])]), name)
    return None


@cache
def _body(module: str) -> tuple[list[ast.stmt], bool]:
    """Statements of a module, and whether it is a package; none where it has no source. Nothing is imported."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        place = Path(folder, *parts)
        for path, package in ((place / "__init__.py", True), (place.with_suffix(".py"), False)):
            if path.is_file():
                return ast.parse(path.read_text(encoding="utf-8")).body, package
    return [], False


def _annotated(annotation: ast.expr | None) -> Rules:
    """Plain types of an annotation, as rules; empty where it names anything else."""
    plain = {"int": "Integral", "float": "Real", "bool": "'boolean'", "str": "str", "None": "None"}
    names = ast.unparse(annotation).replace("Optional[", "None | ").replace("Union[", "") if annotation else ""
    words = [word.strip() for word in names.replace("]", "").replace(",", "|").split("|")]
    if not all(word in plain for word in words):
        return ()
    return tuple(ast.parse(plain[word], mode="eval").body for word in words)


def _keeps(rule: ast.expr, value: Any) -> bool:
    """Whether a value that stands in YAML keeps a rule; what cannot be read is kept."""
    match rule:
        case ast.Constant(value=word):
            return _keeps_word(word, value)
        case ast.Name(id=kind):  # another class than these: YAML has none of its objects
            return _is(kind, value)
        case ast.Call(func=ast.Name(id="Hidden")):
            return False
        case ast.Call(func=ast.Name(id="StrOptions"), args=[ast.Set() as options]):
            return value in ast.literal_eval(options)
        case ast.Call(func=ast.Name(id="Interval"), args=[ast.Name(id=kind), low, high], keywords=[closed]):
            if not _is(kind, value):
                return False
            least, most, ends = (ast.literal_eval(one) for one in (low, high, closed.value))
            above = least is None or value > least or (value == least and ends in ("left", "both"))
            return above and (most is None or value < most or (value == most and ends in ("right", "both")))
    return True


def _keeps_word(word: object, value: Any) -> bool:
    match word:
        case None:
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "verbose":
            return isinstance(value, bool | int)
        case "random_state":
            return value is None or (_is("Integral", value) and value >= 0)
        case "array-like":
            return isinstance(value, list)
    return True


def _is(kind: str, value: Any) -> bool:
    if kind in ("dict", "list", "str"):
        return type(value).__name__ == kind
    kinds: dict[str, Any] = {"Integral": int, "Real": int | float, "RealNotInt": float}
    return kind in kinds and isinstance(value, kinds[kind]) and not isinstance(value, bool)


def _words(rule: ast.expr) -> str:
    """A rule for people; empty for what YAML cannot hold."""
    plain = {
        "boolean": "true or false",
        "array-like": "a list",
        "random_state": "a whole number",
        "verbose": "a number",
    }
    kinds = {"Integral": "a whole number", "Real": "a number", "dict": "a mapping", "list": "a list", "str": "text"}
    match rule:
        case ast.Constant(value=None):
            return "null"
        case ast.Constant(value=word):
            return plain.get(str(word), str(word))
        case ast.Name(id=kind):
            return kinds.get(kind, "")
        case ast.Call(func=ast.Name(id="StrOptions"), args=[ast.Set() as options]):
            return ", ".join(sorted(ast.literal_eval(options)))
        case ast.Call(func=ast.Name(id="Interval"), args=[ast.Name(id=kind), low, high], keywords=[closed]):
            least, most, ends = (ast.literal_eval(one) for one in (low, high, closed.value))
            limits = [] if least is None else [f"{'>=' if ends in ('left', 'both') else '>'} {least:g}"]
            limits += [] if most is None else [f"{'<=' if ends in ('right', 'both') else '<'} {most:g}"]
            named = {"Integral": "a whole number", "RealNotInt": "a fraction"}.get(kind, "a number")
            return " ".join([named, " and ".join(limits)])
    return ""

"""What a mistake in a configuration is called, without ever showing the value: it may be a secret."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import nearest

_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def unknown(path: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no such key, and which one may have been meant."""
    return f"{path}: there is no such setting{nearest(name, known)}"


def placed(sentence: str, path: str, names: Iterable[str], origins: Mapping[str, str] | None = None) -> str:
    """Put the path before a validator's sentence, which may begin with the name of a setting.

    Args:
        sentence: what the validator says.
        path: of the table.
        names: of its settings.
        origins: environment variables, by the setting that they gave.

    >>> placed("write_key is missing", "destinations.cdp", ["write_key"])
    'destinations.cdp.write_key is missing'
    >>> placed("linger must be 0 or more", "delivery", ["linger"], {"linger": "UNITRACK_DELIVERY__LINGER"})
    'delivery.linger (from UNITRACK_DELIVERY__LINGER) must be 0 or more'
    >>> placed("give a token or an api_key", "destinations.cdp", ["token"])
    'destinations.cdp: give a token or an api_key'
    """
    first = sentence.partition(" ")[0].rstrip(":,")
    if first not in names:
        return f"{path}: {sentence}"
    origin = f" (from {origins[first]})" if origins and first in origins else ""
    return f"{path}.{first}{origin}{sentence.removeprefix(first)}"


def expected(kind: Any, value: Any) -> str:
    """Say what a type wants and what it was given: ``a number, not text``."""
    return f"{name_of(kind)}, not {_shape(value)}"


def name_of(kind: Any) -> str:
    """Name a type in a user's words."""
    if kind in _NAMES:
        return _NAMES[kind]
    arguments = [argument for argument in get_args(kind) if argument not in (NoneType, ...)]
    if is_literal(kind):
        return "one of " + ", ".join(map(repr, arguments))
    if is_union(kind):
        return " or ".join(map(name_of, arguments))
    if is_list(kind):
        return f"a list of {name_of(arguments[0])}"
    return "a table"


def _shape(value: Any) -> str:
    for kind, name in ((bool, "true or false"), (str, "text"), (int, "a whole number")):
        if isinstance(value, kind):
            return name
    if isinstance(value, float):
        return "a number with a decimal point" if math.isfinite(value) else "nan or infinity"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a table" if isinstance(value, Mapping) else type(value).__name__


def is_union(kind: Any) -> bool:
    """Tell whether a type is one of several."""
    return get_origin(kind) in (Union, UnionType)


def is_literal(kind: Any) -> bool:
    """Tell whether a type is a choice of words."""
    return get_origin(kind) is Literal


def is_list(kind: Any) -> bool:
    """Tell whether a type is a list of something."""
    origin = get_origin(kind)
    return origin in (list, tuple, Sequence) and len(get_args(kind)) > 0


def is_table(kind: Any) -> bool:
    """Tell whether a type is a table whose keys the user chooses."""
    return get_origin(kind) in (dict, Mapping) and len(get_args(kind)) == 2

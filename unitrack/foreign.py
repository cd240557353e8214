"""Types that JSON does not know and that mean one thing only: their content as plainer data.

The packages of others are recognised by name and never imported.
"""

from collections import deque
from dataclasses import fields as dataclass_fields
from pathlib import PurePath
from typing import Any

import attrs

#: What stands for a number that is missing.
NAN = float("nan")

#: numpy's kinds of element that Python has a type for: truth, whole numbers, floats, text, objects. Its times are
#: not among them: most come out as a bare number whose unit is lost.
_NUMPY_KINDS = frozenset("biufUO")

#: Methods that give plainer data, where which one and with which options is the caller's to say.
_WAYS_OUT = ("model_dump", "to_dict", "tolist", "total_seconds", "_asdict")


def opened(value: Any, most: int) -> Any:
    """Return what a value holds, or the value itself where that is not obvious.

    Args:
        value: anything but what JSON knows.
        most: of an array, no more than so many items and one are needed; then it is too long anyway.
    """
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__"):
        return value if hides_something(value) else {name: getattr(value, name) for name, _ in _fields(value)}
    if isinstance(value, deque):
        return list(deque.__iter__(value))
    if isinstance(value, range):
        return list(value[: most + 1])
    if isinstance(value, PurePath):
        return str(value)
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        return _from_numpy(value, most)
    if package == "pandas" and kind.__name__ == "NAType":
        return NAN
    if any(base.__module__ == "django.utils.functional" and base.__name__ == "Promise" for base in kind.__mro__):
        return str(value)  # a lazy translation, in the language of this moment
    return value


def hides_something(value: object) -> bool:
    """Tell whether an object keeps a field out of its repr.

    Such a field often is a secret, and to leave it out would be a loss without a word.
    """
    return any(not shown for _, shown in _fields(value))


def advice(value: object) -> str:
    """Say what to do with a value that has no JSON form; the end of a sentence."""
    if hides_something(value):
        return "keeps a field out of its repr; hand over a dict of what may be sent"
    kind = type(value)
    if kind.__module__ == "numpy":
        return "has no JSON form; convert it first, for example with str()"  # its tolist() may lose the unit
    if way := next((name for name in _WAYS_OUT if hasattr(kind, name)), None):
        return f"has no JSON form; convert it first, for example with its {way}()"
    if hasattr(kind, "__iter__"):
        return "has no JSON form; convert it first, for example with list()"
    return "has no JSON form; convert it first"


def _fields(value: Any) -> list[tuple[str, bool]]:
    """Return the names of an object's fields, and whether its repr shows them; nothing for any other object."""
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        return [(each.name, each.repr) for each in dataclass_fields(value)]
    if hasattr(kind, "__attrs_attrs__"):
        return [(each.name, bool(each.repr)) for each in attrs.fields(kind)]
    return []


def _from_numpy(value: Any, most: int) -> Any:
    if getattr(getattr(value, "dtype", None), "kind", "") not in _NUMPY_KINDS:
        return value
    plain = value.ravel()[: most + 1].tolist() if value.size > most else value.tolist()
    # A number of more digits than any type of Python comes out as it went in.
    return value if type(plain) is type(value) else plain

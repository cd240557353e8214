"""Take members out of a message, or black them out, by the path where they stand."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attrs import evolve

from .errors import ConfigError
from .message import Message
from .values import JsonObject, dumps, encode_object

REDACTED = "[redacted]"
_ROOTS = ("properties", "traits", "context", "integrations")
_GONE = object()


def split_path(path: str) -> tuple[str, ...]:
    """Return the steps of a path such as ``properties.card.number`` or ``$.traits.*.ssn``; ``*`` is any one step.

    A list is passed through: ``properties.items.price`` is the price of every item, ``properties.items.0.price``
    that of the first.

    Raises:
        ConfigError: it does not start at a member that holds an object.
    """
    steps = tuple(path.removeprefix("$.").split(".")) if isinstance(path, str) else ()
    if len(steps) < 2 or steps[0] not in _ROOTS or not all(steps):
        raise ConfigError(
            f"{path!r} is no path; write one of {', '.join(_ROOTS)}, a dot and a name: 'properties.email'"
        )
    return steps


def cleaner(drop: Sequence[str], redact: Sequence[str]) -> Callable[[Message], Message] | None:
    """Make a function that applies both lists to a message, or ``None`` if there is nothing to do."""
    rules: list[tuple[tuple[str, ...], object]] = [(split_path(path), _GONE) for path in drop]
    rules += [(split_path(path), REDACTED) for path in redact]
    if not rules:
        return None

    def clean(message: Message) -> Message:
        changed: dict[str, Any] = {}
        for root in _ROOTS:
            mine = [(steps[1:], value) for steps, value in rules if steps[0] == root]
            if mine and (data := getattr(message, root, None)):
                # As JSON first: what a rule must find may stand in a set, or under a key that is a number.
                plain: Any = encode_object(data, "$." + root, []).exact()
                for steps, value in mine:
                    plain = _replace(plain, steps, value)
                changed[root] = JsonObject(dumps(plain))
        return evolve(message, **changed) if changed else message

    return clean


def _replace(data: Any, steps: Sequence[str], value: object) -> Any:
    """Return a copy with the value put where the steps lead; a list is entered item by item."""
    if isinstance(data, list):
        # "items.price" and "items.*.price" mean the same: better one member too many than one that slips through.
        inside = [_replace(item, steps, value) for item in data]
        return [item for _, item in _stepped(enumerate(inside), steps, value)]
    return dict(_stepped(data.items(), steps, value)) if isinstance(data, dict) else data


def _stepped(places: Iterable[tuple[Any, Any]], steps: Sequence[str], value: object) -> Iterator[tuple[Any, Any]]:
    step, rest = steps[0], steps[1:]
    for place, item in places:
        if step not in ("*", str(place)):
            yield place, item
        elif rest:
            yield place, _replace(item, rest, value)
        elif value is not _GONE:
            yield place, value

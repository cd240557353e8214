"""Take members out of a message, or black them out, by the path where they stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from .errors import ConfigError
from .message import Message
from .values import JsonObject, dumps

REDACTED = "[redacted]"
_ROOTS = ("properties", "traits", "context", "integrations")
_GONE = object()


def split_path(path: str) -> tuple[str, ...]:
    """Return the steps of a path such as ``properties.card.number`` or ``$.traits.*.ssn``; ``*`` is any one step.

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
            data = getattr(message, root, None)
            if mine and data:
                plain = dict(data)
                for steps, value in mine:
                    plain = _replace(plain, steps, value)
                changed[root] = JsonObject(dumps(plain))
        return evolve(message, **changed) if changed else message

    return clean


def _replace(data: Any, steps: Sequence[str], value: object) -> Any:
    """Return a copy with the value put where the steps lead; a list is entered item by item."""
    if isinstance(data, list):
        return [_replace(item, steps, value) for item in data]
    if not isinstance(data, Mapping):
        return data
    step, rest = steps[0], steps[1:]
    copy = {}
    for name, item in data.items():
        if step not in ("*", name):
            copy[name] = item
        elif rest:
            copy[name] = _replace(item, rest, value)
        elif value is not _GONE:
            copy[name] = value
    return copy

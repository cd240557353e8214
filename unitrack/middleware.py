"""Functions from message to message, or to ``None`` to stop it; these are the ready-made ones.

A middleware is any callable ``(Message) -> Message | None``. It runs in the caller's thread, once for all
destinations. Change a message with :func:`attrs.evolve`::

    def add_release(message):
        return attrs.evolve(message, context={**message.context, "release": "2024.2"})

If one raises, the message is not sent: a redactor that fails must not let data through.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from .message import Message
from .paths import cleaner

Middleware = Callable[[Message], Message | None]


def add_context(members: Mapping[str, Any]) -> Middleware:
    """Make a middleware that adds members to ``context`` where the caller gave none of that name."""
    fixed = dict(members)

    def middleware(message: Message) -> Message:
        return evolve(message, context={**fixed, **message.context})

    return middleware


def drop(*paths: str) -> Middleware:
    """Make a middleware that takes members out: ``drop("properties.email", "traits.*.ssn")``."""
    return _clean(paths, ())


def redact(*paths: str) -> Middleware:
    """Make a middleware that replaces the values of members by ``"[redacted]"``."""
    return _clean((), paths)


def _clean(gone: Sequence[str], black: Sequence[str]) -> Middleware:
    clean = cleaner(gone, black)

    def middleware(message: Message) -> Message:
        return clean(message) if clean else message

    return middleware

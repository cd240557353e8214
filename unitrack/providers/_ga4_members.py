"""Where each member of a message goes at GA4: into parameters, or into what a request says of its user."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from ..message import Group, Identify, Message, Page, Screen
from ..values import JsonObject
from ._ga4_fit import Given

#: The web tag's own ids: two positive numbers, joined by a point.
_is_client_id = re.compile(r"0*[1-9][0-9]*\.0*[1-9][0-9]*").fullmatch


def exact(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of a message as data, with every number as it was written."""
    return given.exact() if isinstance(given, JsonObject) else dict(given)


def members(where: str, given: Mapping[str, Any]) -> Iterator[Given]:
    """Give each member of an object with its place."""
    return ((f"{where}.{name}", name, value) for name, value in exact(given).items())


def seen(message: Page | Screen, title: str, names: Mapping[str, str]) -> Iterator[Given]:
    """Give what was seen under GA4's names: ``title`` for its name, ``names`` for properties.

    What the caller gave under one of these names wins.
    """
    own = {name for name, value in message.properties.items() if value is not None}
    for place, name, value in (("$.name", title, message.name), ("$.category", "category", message.category)):
        if value and name not in own:
            yield place, name, value
    for place, name, value in members("$.properties", message.properties):
        if names.get(name) not in own:
            yield place, names.get(name, name), value


def joined(message: Group) -> Iterator[Given]:
    """Give the group and its traits."""
    yield "$.group_id", "group_id", message.group_id
    yield from (given for given in members("$.traits", message.traits) if given[1] != "group_id")


def chosen(message: Message, options: Mapping[str, Any], traits: frozenset[str]) -> Iterator[Given]:
    """Give user properties: those of the options, and of an identify's traits those that were chosen."""
    yield from members("$.options.ga4.user_properties", options)
    if isinstance(message, Identify):
        wanted = traits - options.keys()
        yield from (given for given in members("$.traits", message.traits) if given[1] in wanted)


def web_client(known: str) -> str:
    """Return the id of a web client, or make one in its form, always the same for a text.

    >>> web_client("1234567890.1700000000"), web_client("u1")
    ('1234567890.1700000000', '3145859853.3156986554')
    """
    if _is_client_id(known):
        return known
    digest = sha256(known.encode()).digest()
    return f"{int.from_bytes(digest[:4])}.{int.from_bytes(digest[4:8])}"


def text(context: Mapping[str, Any], name: str) -> str | None:
    """Return a member of a context if it is text."""
    value = context.get(name)
    return value if isinstance(value, str) and not value.isspace() else None

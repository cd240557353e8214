"""One destination's part of the fan-out: what the intake and the delivery both need to know of it."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from attrs import Factory, define, evolve, fields

from .destination import Destination
from .ledger import Book
from .routing import Route
from .settings import Settings
from .waiting import Collector
from .wire import Outcome, Provider, Request, Response

#: No word of an answer is both so long and by chance the same as a credential.
UNMISTAKABLE = 12
#: What JSON encoders escape that think of HTML, and all that is not ASCII.
_WARY = re.compile("[\"&'<>+`]|[^\x00-\x7f]")
_CREDENTIALS = frozenset({"authorization", "x-api-key"})


@define
class Branch:
    """A destination as it runs in this process."""

    name: str
    destination: Destination
    settings: Settings
    book: Book = Factory(Book)
    #: Bulks that wait for the verdict on a message, by its number.
    watched: dict[int, Collector] = Factory(dict)

    @property
    def provider(self) -> Provider:
        return self.destination.provider

    def tell_all(self, outcome: Outcome) -> None:
        """Tell the bulks how every message stands that they wait for."""
        for seq, collector in self.watched.copy().items():
            collector.note(seq, self.name, outcome)


def routes(branches: Iterable[Branch]) -> Mapping[str, Route]:
    """Return the routing rules of each."""
    return {branch.name: Route(branch.destination) for branch in branches}


def secrets_of(provider: object) -> tuple[str, ...]:
    """Return a provider's credentials, also in the forms in which they travel (base64, quoted, JSON), longest first.

    For taking them out of a server's answer that echoes them.
    """
    found: set[str] = set()
    for secret in _secrets(provider):
        if len(secret) >= 4:  # a shorter one would blacken every other word
            forms = {secret, *(base64.b64encode(text.encode()).decode() for text in (secret, secret + ":"))}
            found |= {quote(secret, safe=""), *(escaped for form in forms for escaped in _in_json(form))}
    return tuple(sorted(found, key=len, reverse=True))


def _in_json(text: str) -> set[str]:
    """Return how JSON of several makers writes a text: as it is, with a backslash before ``/`` (PHP), in ASCII, and
    with what means something in HTML as ``\\u002B`` (.NET) or ``\\u003c`` (Go).
    """
    found = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    for form in ("\\u%04x", "\\u%04X"):
        wary = _WARY.sub(lambda one, form=form: form % ord(one[0]), text.replace("\\", "\\\\"))  # type: ignore[misc]
        found.add(wary)
    return found | {one.replace("/", "\\/") for one in found}


def credentials_in(request: Request) -> tuple[str, ...]:
    """Return the words of a request's headers that let it in, as they travel."""
    return tuple(value.rpartition(" ")[2] for name, value in request.headers.items() if name.lower() in _CREDENTIALS)


def _secrets(provider: Any) -> Iterator[str]:
    for attribute in fields(type(provider)) if hasattr(type(provider), "__attrs_attrs__") else ():
        value = getattr(provider, attribute.name)
        if attribute.metadata.get("secret"):
            if isinstance(value, str):
                yield value
                yield from _targets(value)
            elif isinstance(value, Mapping):
                for item in value.values():
                    if isinstance(item, str):
                        yield item
                        yield item.rpartition(" ")[2]  # the token alone, without "Bearer"


def _targets(secret: str) -> Iterator[str]:
    """Return how a server names an address that is a secret: ``Cannot POST /hooks/T0K3N``."""
    _, scheme, rest = secret.partition("://")
    if scheme:
        target = "/" + rest.partition("/")[2]
        for part in (target, *target.split("?", 1)):
            if len(part) >= UNMISTAKABLE:
                yield part


def unechoed(secrets: Iterable[str], response: Response) -> Response:
    """Return an answer whose body says no secret back.

    Before anyone reads it: whoever quotes the beginning of a body might cut a secret in two, and then no one knows it
    again. Short ones stay, because they could be words of the verdict.
    """
    body = response.body
    for secret in secrets:
        if len(secret) >= UNMISTAKABLE:
            body = body.replace(secret.encode(), b"***")
    return response if body == response.body else evolve(response, body=body)


def without(secrets: Iterable[str], text: str) -> str:
    """Return the text with every secret blackened."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text

"""The one shape that what happened has inside unitrack: six kinds of message, the same for every provider.

A message is plain, frozen data and can always be built; :mod:`unitrack.snapshot` says whether it can be sent.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from attrs import define, field, frozen

from .attachment import Attachment
from .phone import Phone


def _identifier(value: str | int | UUID | None) -> str | None:
    """Text for what is surely an identifier; anything else is left for the snapshot to name."""
    given: Any = value
    # By type(), here and below: isinstance() also asks the object itself, which may raise.
    kind = type(given)
    if kind is str or given is None:
        return value  # type: ignore[return-value]
    if issubclass(kind, UUID):
        return str(given)
    if issubclass(kind, int) and kind is not bool:
        with suppress(ValueError):  # thousands of digits
            return int.__repr__(given)  # str() of an int enum would be its name
    return value  # type: ignore[return-value]  # wrong on purpose: reported with its path when it is sent


def _members(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {} if value is None else value


def _instant(value: datetime | str | None) -> datetime | None:
    given: Any = value
    kind = type(given)
    if issubclass(kind, str):
        try:
            given = datetime.fromisoformat(str.__str__(given))  # plain text: its error shows the repr
        except ValueError:
            return value  # type: ignore[return-value]  # reported with its path when it is sent
        if given.tzinfo is None:
            # A text without an offset does not say which instant it means; a naive datetime means UTC by rule.
            return given.isoformat()  # type: ignore[no-any-return]
    if issubclass(type(given), datetime) and given.tzinfo is None:
        given = given.replace(tzinfo=UTC)
    return given  # type: ignore[no-any-return]


def _items(value: Sequence[Any] | None) -> Sequence[Any]:
    return () if value is None else value


@frozen(kw_only=True, slots=False)
class _Common:
    """What every kind of message can carry."""

    kind: ClassVar[str]

    user_id: str | None = field(default=None, converter=_identifier)
    anonymous_id: str | None = field(default=None, converter=_identifier)
    phone: Phone | str | None = None
    context: Mapping[str, Any] = field(default=None, converter=_members)
    #: When it happened. Aware; a naive one is UTC; ISO text needs an offset. Default: when the client takes it.
    timestamp: datetime | None = field(default=None, converter=_instant)
    #: Fixed when the client takes the message, and the same on every attempt. Default: a random UUID.
    message_id: str | None = field(default=None, converter=_identifier)
    idempotency_key: str | None = field(default=None, converter=_identifier)
    tenant_id: str | None = field(default=None, converter=_identifier)
    attachments: Sequence[Attachment] = field(default=(), converter=_items)
    integrations: Mapping[str, Any] = field(default=None, converter=_members)
    #: Destination names that alone get this message / that do not get it.
    only: Sequence[str] | None = None
    exclude: Sequence[str] = field(default=(), converter=_items)
    #: What only one provider knows, by destination name. A provider is handed its own part, without the name.
    options: Mapping[str, Any] = field(default=None, converter=_members)
    #: Whether the caller chose ``timestamp`` and ``message_id``; set by the snapshot.
    has_own_time: bool = False
    has_own_id: bool = False


@frozen(kw_only=True, slots=False)
class Track(_Common):
    """Someone did something: ``Track(user_id="u-42", event="Order Paid", properties={"total": 19.9})``."""

    kind = "track"
    event: str = ""
    properties: Mapping[str, Any] = field(default=None, converter=_members)


@frozen(kw_only=True, slots=False)
class Identify(_Common):
    """Who someone is: ``Identify(user_id="u-42", traits={"email": "ada@example.com"})``."""

    kind = "identify"
    traits: Mapping[str, Any] = field(default=None, converter=_members)


@frozen(kw_only=True, slots=False)
class Page(_Common):
    """A web page was seen."""

    kind = "page"
    category: str | None = None
    name: str | None = None
    properties: Mapping[str, Any] = field(default=None, converter=_members)


@frozen(kw_only=True, slots=False)
class Screen(_Common):
    """A screen of an app was seen."""

    kind = "screen"
    category: str | None = None
    name: str | None = None
    properties: Mapping[str, Any] = field(default=None, converter=_members)


@frozen(kw_only=True, slots=False)
class Group(_Common):
    """Someone belongs to a group: a company, an account, a team."""

    kind = "group"
    group_id: str | None = field(default=None, converter=_identifier)
    traits: Mapping[str, Any] = field(default=None, converter=_members)


@frozen(kw_only=True, slots=False)
class Alias(_Common):
    """Two ids are one person: ``previous_id`` is merged into ``user_id``."""

    kind = "alias"
    previous_id: str | None = field(default=None, converter=_identifier)


@define(eq=False)
class PlainTrack:
    """A track with nothing but a user, a name and properties, as it is read from its record: most of what is sent.

    Its caller chose neither its id nor its time. A provider may say it without a message being made of it; see
    :class:`unitrack.wire.PlainProvider`.
    """

    user_id: str
    event: str
    message_id: str
    timestamp: str  #: in UTC, to the millisecond: ``2026-01-15T12:00:00.123Z``
    properties: Any  #: their text, for :func:`unitrack.values.dumps` to splice into an envelope


Message = Track | Identify | Page | Screen | Group | Alias

#: Message classes by their kind, in the order of the documentation.
KINDS: Mapping[str, type[Message]] = {
    "track": Track,
    "identify": Identify,
    "page": Page,
    "screen": Screen,
    "group": Group,
    "alias": Alias,
}

_M = TypeVar("_M", bound=Message)


def made(kind: type[_M], members: dict[str, Any]) -> _M:
    """Make a message of members that are all there and checked; converting them once more costs as much as the rest."""
    message = object.__new__(kind)
    object.__setattr__(message, "__dict__", members)
    return message

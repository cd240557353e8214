"""The words between a provider and the delivery: what it can, what goes out, what came back, what that means."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

from attrs import Attribute, Factory, field, frozen

from .errors import ConfigError, Unsupported
from .message import KINDS, Message, PlainTrack
from .secret import Secret, sealed

#: Members of a message that a vendor may have no place for; see :attr:`Capabilities.carries`.
OPTIONAL_MEMBERS = ("anonymous_id", "phone", "context", "integrations", "tenant_id", "idempotency_key", "attachments")

DEFAULT_MESSAGE_BYTES = 512 * 1024


@frozen(kw_only=True)
class Capabilities:
    """What a provider takes, and how much at once: data for routing, batching, docs, the CLI and the tests."""

    #: Kinds of message that have a call at the vendor.
    accepts: frozenset[str] = frozenset(KINDS)
    #: Any one of these is identity enough: ``user_id``, ``anonymous_id``, ``phone``.
    identities: tuple[str, ...] = ("user_id",)
    #: Optional members with a place at the vendor: ``"context"``, or for one kind only ``"identify.phone"``.
    carries: frozenset[str] = frozenset()
    #: Names of the options that ``encode`` understands, with ``*`` for any text; others are left out and counted.
    options: tuple[str, ...] = ()
    #: Messages in one request, at most.
    max_batch: int = 1
    #: Bytes in one request body, at most; ``None``: the vendor states no limit.
    max_batch_bytes: int | None = None
    #: Bytes of one encoded message, at most; ``None``: the vendor states no limit (512 KiB of ours apply).
    max_message_bytes: int | None = None
    #: Bytes that a body needs around its parts, at most; each part but the first adds a comma.
    envelope_bytes: int = 2
    #: Requests per minute that the vendor allows; ``None``: no number is stated.
    rate_per_minute: float | None = None
    #: The vendor's member by which a repeat is recognised, in words; ``None``: a repeat counts twice.
    deduplicates: str | None = None
    #: Whether a success means *stored*; False where the vendor answers 2xx for bad data too.
    confirms: bool = True
    #: Whether the vendor knows repeats across all that an account sends it, so that of two destinations with the same
    #: ids one would lose its copies. Such a provider has a setting ``id_scope``, which a client sets where it must.
    shared_ids: bool = False
    #: What to tell the user for a kind that is not accepted: ``{"page": "Interakt has no page call; …"}``.
    refusals: Mapping[str, str] = Factory(dict)

    @property
    def message_bytes(self) -> int:
        """Bytes of one encoded message at most: the vendor's limit, else 512 KiB or what a request can hold."""
        if self.max_message_bytes is not None:
            return self.max_message_bytes
        if self.max_batch_bytes is None:
            return DEFAULT_MESSAGE_BYTES
        return min(DEFAULT_MESSAGE_BYTES, self.max_batch_bytes - self.envelope_bytes)


@frozen(kw_only=True, slots=False)  # made for each message, and so in half the time
class Part:
    """One message in the vendor's words, before it shares a request with others.

    Parts with the same ``path`` and ``head`` may travel together, unless one is ``alone``.
    """

    path: str
    body: bytes = field(repr=False)
    alone: bool = False
    #: What the request says once for all its messages, such as the user where a request is about one user.
    head: bytes = field(default=b"", repr=False)
    #: Which attempt at this message is being made, from 1; set by the delivery, for vendors that want to know.
    attempt: int = 1


def _shown(url: str) -> str:
    # A query can hold a credential; an address that is one itself is a Secret and shows nothing.
    return repr(url if isinstance(url, Secret) else url.partition("?")[0])


@frozen(kw_only=True)
class Request:
    """The exact bytes that go out. Headers, body and query hold credentials, so none of them is in the repr."""

    url: str = field(repr=_shown)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


@frozen(kw_only=True)
class Response:
    """What came back. Header names are lower case; the body is capped by the transport."""

    status: int
    headers: Mapping[str, str] = Factory(dict)
    body: bytes = b""
    #: When it was received, by our clock; for a ``Retry-After`` that is a date.
    received_at: datetime | None = None


@frozen
class Delivered:
    """The vendor took it. ``warnings`` are the vendor's remarks."""

    warnings: tuple[str, ...] = ()


@frozen
class Retry:
    """Not now: send it again with the same ids, not before ``after`` seconds where the server named a time.

    ``own``: the answer says so of this very message, not of the request: the destination goes on without it. With
    ``after=0.0`` as well it was only in bad company, and is sent again at once.
    """

    reason: str
    after: float | None = None
    code: int | None = None
    own: bool = field(default=False, repr=False)


@frozen
class Hold:
    """The destination is at fault, not the message: keep everything, say so once, probe slowly."""

    reason: str
    code: int | None = None


@frozen
class Rejected:
    """The message is at fault: it will never be taken.

    ``own``: the answer names this very message. Else a batch may be halved to find the one at fault.
    """

    reason: str
    code: int | None = None
    own: bool = field(default=False, repr=False)


Outcome = Delivered | Retry | Hold | Rejected


@runtime_checkable
class Provider(Protocol):
    """What unitrack needs to know of a destination.

    Implementations are frozen attrs classes: their fields are the settings that a user writes, their methods are
    pure. Sockets, clocks, queues, retries and threads live elsewhere, once.
    """

    @property
    def name(self) -> str:
        """The word for this provider in a configuration, lower case."""

    @property
    def base_url(self) -> str:
        """Scheme, host and, if any, a path before the vendor's own."""

    @property
    def capabilities(self) -> Capabilities:
        """What the vendor takes, and how much at once."""

    def encode(self, message: Message) -> Part:
        """Say one message in the vendor's words.

        ``message.options`` holds only what the caller meant for this destination, without its name.

        Raises:
            Unsupported: the vendor has no place for it; the sentence says what to do.
        """

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        """Wrap parts of one path into the exact bytes to send; called anew for every attempt."""

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        """Give one verdict for each part, in order. Must not raise, whatever the body is."""


@runtime_checkable
class PlainProvider(Provider, Protocol):
    """A provider with a short way for a plain track, for the sake of speed. It needs none."""

    def encode_plain(self, track: PlainTrack) -> Part | None:
        """Say a plain track in the very same bytes as :meth:`encode` says its message; ``None``: let that do it."""


def plain_encoder(provider: Provider) -> Callable[[PlainTrack], Part | None] | None:
    """Return the short way of a provider; ``None`` if it has none, or another ``encode`` than it was written beside.

    A class that inherits the short way may say more in an ``encode`` of its own, and so may a function that somebody
    put into the place of ``encode``; the short way would leave that out without a word.
    """
    for kind in type(provider).__mro__:
        encode = vars(kind).get("encode")
        if encode is not None and getattr(encode, "__qualname__", None) != f"{kind.__qualname__}.encode":
            return None
        if "encode_plain" in vars(kind):
            return provider.encode_plain if isinstance(provider, PlainProvider) else None
        if encode is not None:
            return None
    return None


def secret(where: str = "give the credential") -> Any:
    """Declare a provider's setting that must appear in no repr, log or error; surrounding blanks are dropped.

    Args:
        where: what to do when it is missing, for the error: ``"copy it from Settings > Keys"``.
    """

    def given(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{attribute.name} is missing; {where}")

    return field(repr=False, converter=sealed, validator=given, metadata={"secret": True})


def optional_secret() -> Any:
    """Like :func:`secret`, for a credential that another form may replace. Default: ``None``."""
    return field(default=None, repr=False, converter=sealed, metadata={"secret": True})


def address(default: str | None = None) -> Any:
    """Declare the setting ``base_url``; surrounding blanks and trailing slashes are dropped, a path is kept.

    Args:
        default: ``None`` where it depends on other settings; :func:`settle_address` then sets it.
    """
    return field(default=default, converter=_trimmed)


def settle_address(provider: object, default: str) -> None:
    """Give a provider that is being made its ``base_url``, unless its user has named one."""
    if not getattr(provider, "base_url", None):
        object.__setattr__(provider, "base_url", default)


def _trimmed(url: Any) -> Any:
    return url.strip().rstrip("/") if isinstance(url, str) else url


def refusal(provider: Provider, message: Message) -> str | None:
    """Say why a provider cannot take this message, as far as its capabilities tell; ``None`` if it can.

    A message with options for a provider may be identified by them, so identity is then left to ``encode``.
    """
    can = provider.capabilities
    if message.kind not in can.accepts:
        return can.refusals.get(message.kind) or f"{_title(provider)} has no {message.kind} call"
    if message.options:
        return None
    for name in can.identities:
        if getattr(message, name) is not None:
            return None
    return f"{_title(provider)} needs {' or '.join(can.identities)}"


def require_identity(provider: Provider, message: Message) -> None:
    """Raise :class:`Unsupported` unless the message has an identity that the provider knows."""
    identities = provider.capabilities.identities
    for name in identities:
        if getattr(message, name) is not None:
            return
    raise Unsupported(f"{_title(provider)} needs {' or '.join(identities)}")


def _title(provider: Provider) -> str:
    return type(provider).__name__


def omitted(capabilities: Capabilities, message: Message) -> tuple[str, ...]:
    """Name what this vendor has no place for: members, and options as ``options.NAME``. It is left out and counted."""
    return homeless(capabilities, message, uncarried(capabilities, message.kind))


def uncarried(capabilities: Capabilities, kind: str) -> tuple[str, ...]:
    """Name the optional members that have no place in a vendor's call for this kind of message."""
    carries = capabilities.carries
    return tuple(name for name in OPTIONAL_MEMBERS if name not in carries and f"{kind}.{name}" not in carries)


def homeless(capabilities: Capabilities, message: Message, members: Sequence[str]) -> tuple[str, ...]:
    """Like :func:`omitted`, where it is known which members have no place."""
    found = [name for name in members if getattr(message, name)]
    if message.options:
        known = capabilities.options
        found += [f"options.{name}" for name in message.options if not any(fnmatchcase(name, k) for k in known)]
    return tuple(found)

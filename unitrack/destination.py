"""A provider that a user configured: what it is called for, what it must not see, how it is delivered to."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import Attribute, evolve, field, fields_dict, frozen

from .errors import ConfigError, nearest
from .message import KINDS
from .settings import PER_DESTINATION, Settings, at_least, flag, one_of
from .wire import Provider

_ROUTING = ("events", "kinds", "sample", "consent", "drop", "redact", "unsupported", "allow_http", "transport")
_KNOWN = (*_ROUTING, *sorted(PER_DESTINATION))


def _words(value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else value  # type: ignore[return-value]


def _are_words(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, tuple):
        raise ConfigError(f"{attribute.name} must be a list of texts, not {type(value).__name__}")
    for word in value:
        if not isinstance(word, str) or not word:
            raise ConfigError(f"{attribute.name} must hold texts that are not empty, not {word!r}")


def _known_kinds(_: Any, attribute: "Attribute[Any]", value: tuple[str, ...] | None) -> None:
    _are_words(_, attribute, value)
    for kind in value or ():
        if kind not in KINDS:
            raise ConfigError(f"{attribute.name}: {kind!r} is no kind of message{nearest(str(kind), KINDS)}")


def _is_provider(_: Any, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, type) or not isinstance(value, Provider):
        shown = f"the class {value.__name__}; call it" if isinstance(value, type) else type(value).__name__
        hint = "; providers go by name in Client.from_config(…) only" if isinstance(value, str) else ""
        raise ConfigError(f"{attribute.name} must be a provider such as Hightouch(write_key=…), not {shown}{hint}")


def _is_share(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    at_least(0)(_, attribute, value)
    if value > 1:
        raise ConfigError(f"{attribute.name} must be a share between 0 and 1, not {value!r}")


def _known_overrides(_: Any, __: "Attribute[Any]", value: Mapping[str, Any]) -> None:
    for name in value:
        if name not in PER_DESTINATION:
            common = name in fields_dict(Settings)
            hint = "; it is one of the whole client" if common else nearest(str(name), _KNOWN)
            raise ConfigError(f"{name!r} is no setting of a destination{hint}")
    Settings(**value)  # checks the values


@frozen(init=False)
class Destination:
    """One place that messages go to.

    Args:
        provider: what it speaks, with its credentials.
        events: patterns of event names (``"Order *"``); other ``track`` messages are filtered. Default: all.
        kinds: kinds of message that are sent (``["identify", "track"]``). Default: all.
        sample: share of users whose messages are sent, 0 to 1, by a stable hash of the user. Default: 1.
        consent: categories that ``context.consent.categoryPreferences`` must all allow. Default: none needed.
        drop: paths of members that are taken out before it is sent (``"properties.email"``, ``"traits.*.ssn"``).
        redact: paths of members whose value becomes ``"[redacted]"``.
        unsupported: a call that the provider does not know is ``"reject"`` (a dead letter, the default) or
            ``"skip"`` (counted as filtered).
        allow_http: let ``base_url`` be plain ``http://`` to a host other than this one. Default: refused.
        transport: a :class:`~unitrack.transport.Transport` or a ``requests.Session`` of your own.
        overrides: any of the delivery settings that make sense for one destination: ``concurrency``, ``linger``,
            ``batch_size``, ``timeout``, ``on_full``, ….

    Raises:
        ConfigError: naming the wrong argument.
    """

    provider: Provider = field(validator=_is_provider)
    events: tuple[str, ...] | None = field(converter=_words, validator=_are_words)
    kinds: tuple[str, ...] | None = field(converter=_words, validator=_known_kinds)
    sample: float = field(validator=_is_share)
    consent: tuple[str, ...] | None = field(converter=_words, validator=_are_words)
    drop: tuple[str, ...] | None = field(converter=_words, validator=_are_words)
    redact: tuple[str, ...] | None = field(converter=_words, validator=_are_words)
    unsupported: Literal["reject", "skip"] = field(validator=one_of("reject", "skip"))
    allow_http: bool = field(validator=flag)
    transport: Any = field(repr=False)
    overrides: Mapping[str, Any] = field(validator=_known_overrides)

    def __init__(
        self,
        provider: Provider,
        *,
        events: Sequence[str] | str | None = None,
        kinds: Sequence[str] | str | None = None,
        sample: float = 1.0,
        consent: Sequence[str] | str | None = None,
        drop: Sequence[str] | str | None = None,
        redact: Sequence[str] | str | None = None,
        unsupported: Literal["reject", "skip"] = "reject",
        allow_http: bool = False,
        transport: Any = None,
        **overrides: Any,
    ) -> None:
        self.__attrs_init__(
            provider, events, kinds, sample, consent, drop, redact, unsupported, allow_http, transport, overrides
        )

    def settings(self, common: Settings) -> Settings:
        """Return the client's settings with this destination's own on top."""
        return evolve(common, **self.overrides)

    def scoped(self, scope: str) -> "Destination":
        """Return the same destination, whose provider has this ``id_scope``."""
        provider: Any = self.provider
        own = {name: getattr(self, name) for name in _ROUTING}
        return Destination(evolve(provider, id_scope=scope), **own, **self.overrides)

    def for_everyone(self) -> "Destination":
        """Return the same destination without rules about who and what a message is of; kinds are kept to."""
        own = {name: getattr(self, name) for name in _ROUTING} | {"events": None, "sample": 1.0, "consent": None}
        return Destination(self.provider, **own, **self.overrides)


def kept_apart(found: Mapping[str, Destination]) -> dict[str, Destination]:
    """Let no destination's messages pass for repeats of another's, where a vendor knows repeats across all of them.

    To be called with all destinations of a program, before some of them are chosen: the same message has the same id
    at one destination, whoever sends it.

    Raises:
        ConfigError: two of them have been given the same ``id_scope``, or a provider has no such setting.
    """
    sharing: dict[str, list[str]] = {}
    for name, one in found.items():
        if one.provider.capabilities.shared_ids:
            sharing.setdefault(one.provider.name, []).append(name)
    apart = dict(found)
    for vendor, names in sharing.items():
        scopes: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            given = getattr(found[name].provider, "id_scope", None)
            if given is None:
                raise ConfigError(
                    f"destinations.{name}: the provider {vendor!r} has shared_ids and no setting id_scope"
                )
            other = scopes.setdefault(given or name, name)
            if other != name:
                raise ConfigError(
                    f"destinations.{name}: id_scope is that of {other!r}, so {vendor} would take one's messages for"
                    " repeats of the other's; choose another one"
                )
            apart[name] = found[name] if given else found[name].scoped(name)
    return apart

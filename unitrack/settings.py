"""How delivery behaves: one set of defaults, which a client and each of its destinations may change."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import Attribute, field, frozen

from .errors import ConfigError

Mode = Literal["background", "sync"]
Workers = Literal["internal", "external"]
OnFull = Literal["drop_newest", "drop_oldest", "block", "raise"]

#: The longest time that can be set, 31 years: the system refuses to wait for ever.
MOST_SECONDS = 1e9
DEADLINE_IN_MEMORY = 15 * 60.0
DEADLINE_DURABLE = 72 * 3600.0


def at_least(low: float, *, optional: bool = False) -> Callable[[Any, "Attribute[Any]", Any], None]:
    """Make an attrs validator: a number from ``low`` to a billion (``None`` too, if optional)."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value:
            raise ConfigError(f"{attribute.name} must be a number of at least {low:g}, not {value!r}")
        if value > MOST_SECONDS:
            raise ConfigError(f"{attribute.name} must be at most {MOST_SECONDS:,.0f}, not {value!r}")

    return check


def whole(low: int, *, optional: bool = False) -> Callable[[Any, "Attribute[Any]", Any], None]:
    """Make an attrs validator: a whole number not below ``low`` (``None`` too, if optional)."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ConfigError(f"{attribute.name} must be a whole number of at least {low}, not {value!r}")

    return check


def one_of(*choices: str) -> Callable[[Any, "Attribute[Any]", Any], None]:
    """Make an attrs validator: one of these words."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if value not in choices:
            raise ConfigError(f"{attribute.name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def flag(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    """Validate True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name} must be true or false, not {value!r}")


def trimmed(value: Any) -> Any:
    """Drop the blanks around a text; an attrs converter, which leaves what is no text for the validators to name."""
    return value.strip() if isinstance(value, str) else value


def own_table(value: Any) -> Any:
    """Copy a table, so that a later change of the caller's changes nothing here; an attrs converter."""
    return dict(value) if isinstance(value, Mapping) else value


def named(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    """Validate text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{attribute.name} must be text and not blank, not {value!r}")


def fits_a_header(name: str, value: Any) -> None:
    """Check a credential that travels in a header, whatever the setting is called.

    Raises:
        ConfigError: it could not be sent as it stands; the value is not shown.
    """
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise ConfigError(f"{name} must be text that fits into a header: printable ASCII on one line")


def seconds(timeout: float | None) -> float | None:
    """Return how long a caller will wait, within what the system can; ``None`` is for ever.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, or None to wait for ever, not {timeout!r}")
    if timeout != timeout:
        raise ValueError("timeout must be a number of seconds, or None to wait for ever, not nan")
    return min(max(0.0, timeout), MOST_SECONDS)


@frozen(kw_only=True)
class Settings:
    """The ``[delivery]`` table. Times are seconds, sizes are bytes.

    Raises:
        ConfigError: a value is out of range; it names the setting.
    """

    #: Where messages wait: ``"memory:"``, ``"sqlite:///var/lib/shop/unitrack"``, ``"redis://broker/0"``.
    queue: str = field(default="memory:", repr=lambda url: repr(str(url).partition("//")[0]))  # may hold a password
    #: What a message on disk survives once it was taken: the end of the ``"process"``, or a loss of ``"power"``.
    durability: Literal["process", "power"] = field(default="process", validator=one_of("process", "power"))
    #: Who sends: threads of this process, or ``"external"``: only ``unitrack worker`` processes.
    workers: Workers = field(default="internal", validator=one_of("internal", "external"))
    #: Use a broker that may lose messages: without an append-only file, or one that evicts keys.
    allow_unsafe_broker: bool = field(default=False, validator=flag)
    #: ``"background"`` sends from worker threads; ``"sync"`` sends in the call, with the same verdicts and retries.
    mode: Mode = field(default="background", validator=one_of("background", "sync"))
    #: Bounds of each destination, messages in flight included.
    max_events: int = field(default=100_000, validator=whole(1))
    max_bytes: int = field(default=64 * 1024 * 1024, validator=whole(1))
    #: What happens when a bound is reached, and how long ``"block"`` blocks.
    on_full: OnFull = field(default="drop_newest", validator=one_of("drop_newest", "drop_oldest", "block", "raise"))
    block_timeout: float = field(default=1.0, validator=at_least(0))
    #: How long a lone message may wait for company.
    linger: float = field(default=0.25, validator=at_least(0))
    #: Messages per request; ``None``: the provider's limit. Never above it.
    batch_size: int | None = field(default=None, validator=whole(1, optional=True))
    #: Parallel requests; ``None``: grows by need to 4 where requests hold batches, else to 16.
    concurrency: int | None = field(default=None, validator=whole(1, optional=True))
    #: One attempt in all, from name lookup to the last byte of the answer; and the connection alone.
    timeout: float = field(default=30.0, validator=at_least(0.001))
    connect_timeout: float = field(default=5.0, validator=at_least(0.001))
    #: Attempts after the first; ``None``: until the deadline.
    max_retries: int | None = field(default=None, validator=whole(0, optional=True))
    #: A message not delivered by then is a dead letter. ``None``: 15 min in memory, 72 h in a durable queue.
    delivery_deadline: float | None = field(default=None, validator=at_least(0, optional=True))
    #: The longest wait that a server can ask for.
    max_retry_after: float = field(default=3600.0, validator=at_least(0))
    #: How long the end of the process may wait for what is still queued.
    shutdown_timeout: float = field(default=5.0, validator=at_least(0))
    #: First wait between probes of a destination on hold; doubles to 15 min.
    probe_interval: float = field(default=30.0, validator=at_least(0.001))
    #: A bad value raises :class:`~unitrack.InvalidMessage` out of the call instead of refusing it.
    strict: bool = field(default=False, validator=flag)
    #: Log every request and verdict at DEBUG, without headers or bodies.
    debug: bool = field(default=False, validator=flag)


#: Settings that a destination can have for itself; the others belong to the client as a whole.
PER_DESTINATION = frozenset(
    {
        "max_events", "max_bytes", "on_full", "block_timeout", "linger", "batch_size", "concurrency", "timeout",
        "connect_timeout", "max_retries", "delivery_deadline", "max_retry_after", "probe_interval",
    }
)  # fmt: skip

"""The arguments of a client, checked when it is made: what is wrong in a configuration is said then, or never."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import fields_dict

from .address import checked_base_url
from .destination import Destination, kept_apart
from .errors import ConfigError, nearest
from .middleware import Middleware
from .settings import Settings
from .sound import unsound_limit
from .transport import as_transport

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: What the vendors' own SDKs call a setting of ours.
_OTHER_NAMES = {
    "max_queue_size": "max_events",
    "sync_mode": 'mode="sync"',
    "on_error": "on_drop",
    "flush_interval": "linger",
    "upload_interval": "linger",
    "upload_size": "batch_size",
    "flush_at": "batch_size",
    "thread": "concurrency",
    "threads": "concurrency",
}


def checked_destinations(given: object) -> dict[str, Destination]:
    """Return every destination by its name; a bare provider becomes one."""
    if not isinstance(given, Mapping) or not given:
        raise ConfigError('destinations must map names to providers: Client({"cdp": Hightouch(write_key=…)})')
    found: dict[str, Destination] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a destination; use letters, digits, - and _")
        try:
            found[name] = destination = value if isinstance(value, Destination) else Destination(value)
            if wrong := unsound_limit(destination.provider.capabilities):
                raise ConfigError(f"{type(destination.provider).__name__}: {wrong}")
            checked_base_url(destination.provider.base_url, allow_http=destination.allow_http)
            as_transport(destination.transport)
        except ConfigError as error:
            raise ConfigError(f"destinations.{name}: {error}") from error
    return kept_apart(found)


def checked_settings(given: Mapping[str, Any]) -> Settings:
    """Return the delivery settings."""
    known = fields_dict(Settings)
    for name in given:
        if name not in known:
            other = _OTHER_NAMES.get(name)
            hint = f"; here it is {other}" if other else nearest(name, known)
            raise ConfigError(f"{name!r} is no setting of a client{hint}")
    return Settings(**given)


def checked_middleware(given: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Return the functions in their order."""
    if not isinstance(given, Iterable):
        raise ConfigError(f"middleware must be a list of functions, not {type(given).__name__}; put it into [ ]")
    for function in given:
        if not callable(function):
            raise ConfigError(f"middleware must be functions from message to message, not {type(function).__name__}")
    return tuple(given)


def checked_callback(name: str, given: Any) -> Any:
    """Return a function of the user's, or ``None``."""
    if given is not None and not callable(given):
        raise ConfigError(f"{name} must be a function, not {type(given).__name__}")
    return given

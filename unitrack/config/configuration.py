"""A configuration that was read: destinations and settings, with a description that shows no secret."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Attribute, asdict, fields, frozen

from ..destination import Destination
from ..errors import ConfigError
from ..secret import discreet
from ..settings import Settings
from .environment import Overrides, overrides
from .files import PATH_VARIABLE, Found, find
from .reader import ROUTING, SETTINGS, Reader

_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


@frozen
class Configuration:
    """Destinations and settings, checked, with secrets in place; none of them is in the repr.

    Attributes:
        destinations: by name.
        settings: the ``[delivery]`` table.
        origin: where it was read, for people.
        path: the file, if there is nothing in it but what that file and the environment say.
    """

    destinations: Mapping[str, Destination]
    settings: Settings
    origin: str
    path: Path | None = None

    def __repr__(self) -> str:
        # Not attrs' own: the address of a queue may hold a password.
        return f"Configuration({', '.join(self.destinations)}; from {self.origin})"

    def __reduce__(self) -> Any:
        if self.path is None:
            raise TypeError("a configuration holds secrets; load it from its file in the other process instead")
        return load, (str(self.path),)

    def describe(self) -> dict[str, Any]:
        """Return everything as plain data, with ``"(set)"`` or ``"(not set)"`` in place of a secret."""
        return {
            "origin": self.origin,
            "delivery": {name: _shown(value) for name, value in asdict(self.settings).items()},
            "destinations": {name: _described(each) for name, each in self.destinations.items()},
        }


@frozen
class Outline:
    """What the queue needs to know of a configuration.

    Attributes:
        names: of the destinations.
        settings: the ``[delivery]`` table.
    """

    names: tuple[str, ...]
    settings: Settings


@discreet
def load(
    source: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    destinations: Mapping[str, Any] | None = None,
) -> Configuration:
    """Read a configuration: defaults, then the source, then the environment, then code.

    Args:
        source: a mapping, the path of a TOML file, or ``None`` for the first of ``$UNITRACK_CONFIG``,
            ``./unitrack.toml`` and ``[tool.unitrack]`` in ``./pyproject.toml``.
        environ: the environment variables.
        destinations: what code has to say: a provider or :class:`Destination` takes the place of the one with this
            name, a mapping changes single settings of it.

    Raises:
        ConfigError: naming every wrong key by its path, and never a value that may be a secret.
    """
    found, changes = _found(source, environ, bool(destinations))
    made, settings = Reader(found, environ, changes).read(destinations or {})
    path = None if found.path is None or destinations else found.path.absolute()
    return Configuration(made, settings, found.origin, path)


@discreet
def outline(
    source: Mapping[str, Any] | str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] = os.environ
) -> Outline:
    """Read ``[delivery]`` and the destinations' names only: no provider is made, so no vendor's secret is needed.

    Raises:
        ConfigError: as :func:`load`, for what is read.
    """
    found, changes = _found(source, environ, False)
    return Outline(*Reader(found, environ, changes).outline())


def _found(
    source: Mapping[str, Any] | str | os.PathLike[str] | None, environ: Mapping[str, str], has_code: bool
) -> tuple[Found, Overrides]:
    found = find(source, environ)
    changes = overrides(environ, SETTINGS)
    if found is None:
        if not changes.destinations and not has_code:
            raise ConfigError(
                f"there is no configuration: set {PATH_VARIABLE} to the path of a TOML file, or write ./unitrack.toml, "
                "or a table [tool.unitrack] into ./pyproject.toml"
            )
        found = Found({}, "the environment" if changes.destinations else "code")
    return found, changes


def _described(destination: Destination) -> dict[str, Any]:
    provider: Any = destination.provider
    return {
        "provider": provider.name,
        "settings": {
            f.alias: _hidden(getattr(provider, f.name)) if is_secret(f) else _shown(getattr(provider, f.name))
            for f in fields(type(provider))
            if f.init
        },
        "routing": {
            name: value
            for name, parameter in ROUTING.items()
            if (value := getattr(destination, name)) != parameter.default
        },
        "delivery": {name: _shown(value) for name, value in destination.overrides.items()},
    }


def is_secret(attribute: "Attribute[Any]") -> bool:
    """Tell whether a provider's setting must not be shown."""
    return bool(attribute.metadata.get("secret")) or not attribute.repr


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict.fromkeys(value, "(set)")
    return "(set)" if value else "(not set)"


def _shown(value: Any) -> Any:
    return _PASSWORD.sub("(hidden)@", value) if isinstance(value, str) else value

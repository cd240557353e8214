"""Settings from a file, the environment and code, and the client that is made of them."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import asdict

from .. import client, late
from ..errors import ConfigError
from ..secret import discreet

if TYPE_CHECKING:
    from .configuration import Configuration, Outline, is_secret, load, outline
    from .files import parse, read_text
    from .typed import make_converter, structured

__all__ = [
    "Client",
    "Configuration",
    "Outline",
    "is_secret",
    "load",
    "make_converter",
    "outline",
    "parse",
    "read_text",
    "structured",
]


def __getattr__(name: str) -> Any:
    # Late: reading files takes a third of the time of `import unitrack`, and many programs configure in code.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    late.load("unitrack.config.configuration")  # it loads the two others as well
    from .configuration import Configuration, Outline, is_secret, load, outline
    from .files import parse, read_text
    from .typed import make_converter, structured

    found = (Configuration, Outline, is_secret, load, make_converter, outline, parse, read_text, structured)
    return next(one for one in found if one.__name__ == name)


class Client(client.Client):
    # The face that users import. The class below knows no files: imports point down, and a configuration stands above.
    __doc__ = client.Client.__doc__

    @classmethod
    @discreet
    def from_config(
        cls,
        source: "Mapping[str, Any] | str | os.PathLike[str] | Configuration | None" = None,
        *,
        destinations: Mapping[str, Any] | None = None,
        **code: Any,
    ) -> Self:
        """Make a client as a configuration says: defaults, then the source, then the environment, then code.

        Args:
            source: a mapping, the path of a TOML file, or ``None`` for the first of ``$UNITRACK_CONFIG``,
                ``./unitrack.toml`` and ``[tool.unitrack]`` in ``./pyproject.toml``; or what :func:`load` returned.
            destinations: a provider or :class:`~unitrack.Destination` by name takes the place of a configured one;
                a mapping changes single settings of it.
            code: any other argument of :class:`Client`.

        Raises:
            ConfigError: naming every wrong key by its path.
        """
        late.load("unitrack.config.configuration")
        from .configuration import Configuration, load

        if isinstance(source, Configuration):
            if destinations:
                raise ConfigError("this configuration was loaded already; give its destinations to load()")
            configuration = source
        else:
            configuration = load(source, destinations=destinations)
        settings = asdict(configuration.settings, recurse=False)
        return cls(configuration.destinations, **{**settings, **code})

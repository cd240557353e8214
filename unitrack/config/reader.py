"""Tables of a configuration as destinations and settings, with every mistake named by its key."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from attrs import has

from ..address import checked_base_url
from ..destination import Destination, kept_apart
from ..errors import ConfigError, nearest
from ..providers import find as find_provider
from ..settings import PER_DESTINATION, Settings
from ..wire import Provider
from .environment import TABLES, Overrides
from .files import Found
from .typed import Variable, make_converter, required_settings, setting_types, structured
from .wording import placed, unknown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SETTINGS = get_type_hints(Settings)
_PER_DESTINATION = {name: SETTINGS[name] for name in PER_DESTINATION}
#: What belongs to a destination beside its provider and its delivery settings. A transport is code.
ROUTING = {
    name: parameter
    for name, parameter in inspect.signature(Destination.__init__).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name != "transport"
}
_ROUTING_TYPES = {name: get_type_hints(Destination.__init__)[name] for name in ROUTING}


class Reader:
    """Goes through one configuration and collects what is wrong with it, so that one run shows all of it."""

    def __init__(self, found: Found, environ: Mapping[str, str], changes: Overrides) -> None:
        self._found = found
        self._changes = changes
        self._problems: list[str] = []
        self._converter = make_converter(environ, found.path.parent if found.path else Path())

    def read(self, code: Mapping[str, Any]) -> tuple[dict[str, Destination], Settings]:
        """Return what the configuration says, with ``code`` on top.

        Raises:
            ConfigError: all that is wrong, a line each.
        """
        settings, tables = self._begin()
        tables |= {name: {} for name in code if name not in tables}
        destinations = {name: self._destination(name, table, code.get(name, {})) for name, table in tables.items()}
        self._end(destinations)
        made = {name: destination for name, destination in destinations.items() if destination is not None}
        return kept_apart(made), settings  # now: whoever takes some of them sends the ids that all of them have

    def outline(self) -> tuple[tuple[str, ...], Settings]:
        """Return the names of the destinations and the settings; what is in a destination's table is not read.

        Raises:
            ConfigError: all that is wrong with these, a line each.
        """
        settings, tables = self._begin()
        self._end(tables)
        return tuple(tables), settings

    def _begin(self) -> tuple[Settings, dict[str, Any]]:
        for name in self._found.table:
            if name not in TABLES:
                self._problems.append(f"{name}: there is no such table{nearest(str(name), TABLES)}")
        settings = self._settings({**self._table("delivery"), **self._changes.delivery})
        tables = self._table("destinations")
        written = {_word(name) for name in tables}
        created = [name for name, change in self._changes.destinations.items() if "provider" in change]
        return settings, tables | {name: {} for name in created if name not in written}

    def _end(self, destinations: Mapping[str, Any]) -> None:
        self._check_names(destinations)
        if self._problems:
            joint = " " if len(self._problems) == 1 else "\n  "
            raise ConfigError(joint.join([f"{self._found.origin}:", *self._problems]))

    def _table(self, name: str) -> dict[str, Any]:
        table = self._found.table.get(name, {})
        if not isinstance(table, Mapping):
            self._problems.append(f"{name} must be a table")
            return {}
        return {str(key): value for key, value in table.items()}

    def _check_names(self, destinations: Mapping[str, Any]) -> None:
        if not destinations:
            self._problems.append("no destination is configured; add a table [destinations.NAME] with its provider")
        for name in destinations:
            if not _NAME.fullmatch(name):
                self._problems.append(
                    f"destinations.{name}: a name is made of letters, digits, - and _, and does not begin with a dash"
                )
        words = [_word(name) for name in destinations]
        for word, change in self._changes.destinations.items():
            variable = next(iter(change.values())).name
            if word not in words:
                self._problems.append(f"{variable}: there is no destination {word!r}{nearest(word, words)}")
            elif words.count(word) > 1:
                self._problems.append(f"{variable}: more than one destination has this name in capitals")

    def _settings(self, table: Mapping[str, Any]) -> Settings:
        for name in table.keys() - SETTINGS.keys():
            self._problems.append(unknown(_origin(f"delivery.{name}", table[name]), name, SETTINGS))
        before = len(self._problems)
        values = self._values({name: table[name] for name in table if name in SETTINGS}, SETTINGS, "delivery")
        if len(self._problems) > before:
            return Settings()
        try:
            return Settings(**values)
        except ConfigError as error:
            self._problems.append(placed(str(error), "delivery", SETTINGS, _origins(table)))
            return Settings()

    def _destination(self, name: str, table: Any, code: Any) -> Destination | None:
        path = f"destinations.{name}"
        for ready in (code, table):
            if isinstance(ready, Destination):
                return ready
            if isinstance(ready, Provider) and not isinstance(ready, type):
                return Destination(ready)
            if not isinstance(ready, Mapping):
                self._problems.append(f"{path} must be a table with a provider, not {type(ready).__name__}")
                return None
        change = self._changes.destinations.get(_word(name), {})
        cls = self._provider(path, {**table, **{key: change[key] for key in change.keys() & {"provider"}}, **code})
        if cls is None:
            return None
        own = setting_types(cls)
        # A provider's own setting comes first: it may mean by the name what its vendor means by it.
        known = {"provider": str, **_PER_DESTINATION, **_ROUTING_TYPES, **own}
        exact = {key.lower(): key for key in known}
        merged = {**table, **{exact.get(key, key): value for key, value in change.items()}, **code}
        before = len(self._problems)
        for key in sorted(map(str, merged.keys() - known)):
            self._problems.append(unknown(_origin(f"{path}.{key}", merged.get(key)), key, known))
        for key in required_settings(cls):
            if key not in merged:
                self._problems.append(f"{path}.{key} is missing")
        values = self._values({key: merged[key] for key in known if key in merged and key != "provider"}, known, path)
        if len(self._problems) > before:
            return None
        try:
            provider = cls(**{key: value for key, value in values.items() if key in own})
            made = Destination(provider, **{key: value for key, value in values.items() if key not in own})
            checked_base_url(provider.base_url, allow_http=made.allow_http)
            return made
        except ConfigError as error:
            self._problems.append(placed(str(error), path, {"base_url", *known}, _origins(merged)))
        except Exception as error:  # noqa: BLE001  # other people's providers; the text might quote a secret
            self._problems.append(f"{path}: {cls.__name__} cannot be made of these settings ({type(error).__name__})")
        return None

    def _provider(self, path: str, table: Mapping[str, Any]) -> type[Provider] | None:
        if "provider" not in table:
            self._problems.append(f'{path}.provider is missing; say for example provider = "hightouch"')
            return None
        name = structured(self._converter, table["provider"], str, f"{path}.provider", self._problems)
        if name is None:
            return None
        try:
            cls = find_provider(name)
        except ConfigError as error:
            self._problems.append(f"{path}.provider: {error}")
            return None
        known: type[Any] = cls
        if not has(known):
            self._problems.append(f"{path}.provider: {name!r} is not an attrs class, so its settings are not known")
            return None
        return cls

    def _values(self, table: Mapping[str, Any], kinds: Mapping[str, Any], path: str) -> dict[str, Any]:
        return {
            name: structured(self._converter, value, kinds[name], f"{path}.{name}", self._problems)
            for name, value in table.items()
        }


def _word(name: str) -> str:
    """Return a destination's name as it can stand in the name of an environment variable."""
    return name.lower().replace("-", "_")


def _origins(table: Mapping[str, Any]) -> dict[str, str]:
    return {key: value.name for key, value in table.items() if isinstance(value, Variable)}


def _origin(path: str, value: Any) -> str:
    return f"{path} (from {value.name})" if isinstance(value, Variable) else path

"""Environment variables that change one setting each: ``UNITRACK_DESTINATIONS__CDP__BASE_URL=…``."""

from collections.abc import Iterable, Mapping

from attrs import Factory, define

from ..errors import ConfigError, nearest
from .files import PATH_VARIABLE
from .typed import Variable

PREFIX = "UNITRACK_"
TABLES = ("destinations", "delivery")


@define
class Overrides:
    """What the environment says, by the words of the variable's name in lower case."""

    delivery: dict[str, Variable] = Factory(dict)
    #: By destination and key; a dash in a destination's name is an underscore here.
    destinations: dict[str, dict[str, Variable]] = Factory(dict)


def overrides(environ: Mapping[str, str], settings: Iterable[str]) -> Overrides:
    """Collect the variables that are meant for us.

    Others that begin with ``UNITRACK_`` are left alone, since schedulers make such names of their own
    (``UNITRACK_SERVICE_HOST``); only near misses of ours are refused.

    Args:
        environ: the environment variables.
        settings: names of the delivery settings.

    Raises:
        ConfigError: a name that can only be a mistake.
    """
    found = Overrides()
    known = set(settings)
    for variable, text in sorted(environ.items()):
        name = variable.upper()
        if not name.startswith(PREFIX) or name == PATH_VARIABLE:
            continue
        words = name.removeprefix(PREFIX).lower().split("__")
        match words:
            case ["delivery", key] if key:
                found.delivery[key] = Variable(variable, text)
            case ["destinations", destination, key] if destination and key:
                found.destinations.setdefault(destination, {})[key] = Variable(variable, text)
            case [single] if single in known:
                raise ConfigError(f"{variable} is not read; call it {PREFIX}DELIVERY__{single.upper()}")
            case [table, *_] if table in TABLES or len(words) > 1:
                shape = f"{PREFIX}DELIVERY__SETTING or {PREFIX}DESTINATIONS__NAME__SETTING"
                hint = "" if table in TABLES else nearest(table, TABLES)
                raise ConfigError(f"{variable} is not understood{hint}; the form is {shape}")
            case [single] if single.startswith(tuple(f"{table}_" for table in TABLES)):
                raise ConfigError(f"{variable} is not understood; its words are joined by two underscores: __")
    return found

"""The table of providers: those that come with unitrack first, then those that other packages bring.

A package adds one by an entry point, whose name is the word in a configuration::

    [project.entry-points."unitrack.providers"]
    acme = "acme_unitrack:Acme"
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .. import late
from ..errors import ConfigError, nearest
from ..wire import Provider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .amplitude import Amplitude as Amplitude
    from .customerio import CustomerIO as CustomerIO
    from .ga4 import GA4 as GA4
    from .hightouch import Hightouch as Hightouch
    from .interakt import Interakt as Interakt
    from .mixpanel import Mixpanel as Mixpanel
    from .posthog import PostHog as PostHog
    from .rudderstack import RudderStack as RudderStack
    from .segment import Segment as Segment
    from .snowplow import Snowplow as Snowplow
    from .suprsend import SuprSend as SuprSend
    from .thrivestack import Thrivestack as Thrivestack
    from .webhook import Webhook as Webhook

#: The name in a configuration, which is that of the module too, and the class whose fields are the settings.
BUILT_IN: Mapping[str, str] = {
    "amplitude": "Amplitude",
    "customerio": "CustomerIO",
    "ga4": "GA4",
    "hightouch": "Hightouch",
    "interakt": "Interakt",
    "mixpanel": "Mixpanel",
    "posthog": "PostHog",
    "rudderstack": "RudderStack",
    "segment": "Segment",
    "snowplow": "Snowplow",
    "suprsend": "SuprSend",
    "thrivestack": "Thrivestack",
    "webhook": "Webhook",
}

__all__ = ["BUILT_IN", "GROUP", "find", "names", *BUILT_IN.values()]

#: The group of entry points in which other packages announce their providers.
GROUP = "unitrack.providers"


def names() -> list[str]:
    """Name every provider that can be had here, in alphabetical order; loads none of the other packages."""
    return sorted({*BUILT_IN, *_announced()})


def find(name: str) -> type[Provider]:
    """Return the class of a provider by its name in a configuration.

    A name of ours cannot be taken by another package. Another package is imported only when its name is asked for.

    Raises:
        ConfigError: nobody has the name, two packages claim it, or its package cannot be loaded.
    """
    if name in BUILT_IN:
        # Late: a program needs one or two of them, and each takes as long to load as to send a hundred messages.
        return cast(type[Provider], getattr(late.load(f"{__name__}.{name}"), BUILT_IN[name]))
    announced = _announced()
    claims = announced.get(name, [])
    if not claims:
        known = sorted({*BUILT_IN, *announced})
        raise ConfigError(f"there is no provider {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    if len(claims) > 1:
        values = " and ".join(sorted(claim.value for claim in claims))
        raise ConfigError(f"the provider {name!r} is claimed by {values}; uninstall one of the two packages")
    return _loaded(claims[0])


def __getattr__(name: str) -> Any:
    for module, cls in BUILT_IN.items():
        if cls == name:
            return find(module)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, BUILT_IN.values())}")


def __dir__() -> list[str]:
    return sorted({*globals(), *BUILT_IN.values()})


def _announced() -> "dict[str, list[EntryPoint]]":
    late.load("importlib.metadata")  # it takes as long to load as all providers together
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        claims = found.setdefault(point.name, [])
        # One installation can be seen twice, through a path that stands twice in sys.path.
        if all(claim.value != point.value for claim in claims):
            claims.append(point)
    return found


def _loaded(point: "EntryPoint") -> type[Provider]:
    try:
        made = point.load()
    except Exception as error:  # it is other people's code: whatever it raises, say whose it is
        raise ConfigError(
            f"the provider {point.name!r} cannot be loaded from {point.value}: {type(error).__name__}: {error}"
        ) from error
    missing = [word for word in ("name", "encode", "request", "outcomes") if not hasattr(made, word)]
    if not isinstance(made, type) or missing:
        what = f"lacks {', '.join(missing)}" if isinstance(made, type) else "is no class"
        raise ConfigError(f"the provider {point.name!r} ({point.value}) {what}; see docs/adding-a-provider.md")
    return cast(type[Provider], made)

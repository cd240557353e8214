"""What GA4 takes as names and values. What does not fit it drops without a word, so it is refused here, in words.

Limits: https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events#limitations (2026).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from attrs import frozen

from ..errors import Unsupported

MAX_PARAMETERS = 25
MAX_USER_PROPERTIES = 25
NAME_CHARACTERS = 40
USER_PROPERTY_CHARACTERS = 24
USER_VALUE_CHARACTERS = 36
#: Parameters with a limit of their own, which no setting changes.
LONG_VALUES = {"page_title": 300, "page_referrer": 420, "page_location": 1000}

RESERVED = frozenset(
    {
        "ad_activeview", "ad_click", "ad_exposure", "ad_query", "ad_reward", "adunit_exposure", "app_clear_data",
        "app_exception", "app_install", "app_remove", "app_store_refund", "app_update", "app_upgrade",
        "dynamic_link_app_open", "dynamic_link_app_update", "dynamic_link_first_open", "error", "firebase_campaign",
        "firebase_in_app_message_action", "firebase_in_app_message_dismiss", "firebase_in_app_message_impression",
        "first_open", "first_visit", "notification_dismiss", "notification_foreground", "notification_open",
        "notification_receive", "notification_send", "os_update", "session_start", "user_engagement",
    }
)  # fmt: skip
RESERVED_ON_WEB = RESERVED | {"ad_impression", "in_app_purchase", "screen_view"}
_PREFIXES = ("_", "firebase_", "ga_", "google_")
_RESERVED_PARAMETERS = frozenset({"firebase_conversion"})
_RESERVED_USER_PROPERTIES = frozenset(
    {"first_open_time", "first_visit_time", "last_deep_link_referrer", "user_id", "first_open_after_install"}
)

# Letters of any language: Google's rules for event names allow them by name.
_words = re.compile(r"\w+").findall
_is_word = re.compile(r"\w+").fullmatch

#: Where a value stands in the message, the name it is to have, and the value.
Given = tuple[str, str, Any]


@frozen(kw_only=True)
class Fit:
    """The rules, as the settings of a destination bend them.

    Attributes:
        convert: turn what is no letter, digit or underscore in a name into underscores.
        adapt: cut long texts and leave out nested values, in parameters.
        value_limit: characters of a parameter's text.
        reserved: names of events that are the vendor's own.
    """

    convert: bool
    adapt: bool
    value_limit: int
    reserved: frozenset[str]

    def event_name(self, name: str) -> str:
        """Return the name under which GA4 gets an event.

        Raises:
            Unsupported: here and below, what GA4 would drop.
        """
        said = self._said(name)
        if not _is_name(said, NAME_CHARACTERS):
            raise Unsupported(
                f"GA4 takes event names of at most {NAME_CHARACTERS} letters, digits and underscores that start with "
                f"a letter, not {_short(name)!r}; give another one in event_names"
            )
        if said in self.reserved:
            raise Unsupported(f"GA4 keeps the event name {said!r} to itself; give another one in event_names")
        return said

    def parameters(self, given: Iterable[Given], **defaults: Any) -> dict[str, Any]:
        """Return an event's parameters; ``defaults`` are added where the caller gave none of that name."""
        found = {}
        for place, name, value in self._named(given, self._parameter_name):
            if name == "items" and _is_list_of_objects(value):
                found[name] = [self._item(place, number, item) for number, item in enumerate(value)]
            elif (fitting := self._value(place, name, value)) is not None:
                found[name] = fitting
        found = {**defaults, **found}
        if len(found) > MAX_PARAMETERS:
            raise Unsupported(f"GA4 takes {MAX_PARAMETERS} parameters with an event, not {len(found)}; send fewer")
        return found

    def user_properties(self, given: Iterable[Given]) -> dict[str, dict[str, Any]]:
        """Return user properties in GA4's form. Nothing is cut here: half a value would be another one's."""
        found = {}
        for place, name, value in self._named(given, self._user_property_name):
            if isinstance(value, (dict, list)):
                raise Unsupported(f"GA4 takes text, numbers and booleans as user properties; {place} is {_kind(value)}")
            if isinstance(value, str) and len(value) > USER_VALUE_CHARACTERS:
                raise Unsupported(
                    f"GA4 takes {USER_VALUE_CHARACTERS} characters in a user property; {place} has {len(value)}"
                )
            found[name] = {"value": value}
        if len(found) > MAX_USER_PROPERTIES:
            raise Unsupported(f"GA4 takes {MAX_USER_PROPERTIES} user properties at once, not {len(found)}; send fewer")
        return found

    def _named(self, given: Iterable[Given], naming: Callable[[str, str], str]) -> Iterator[Given]:
        """Give what is not null the name that GA4 gets."""
        places: dict[str, str] = {}
        for place, name, value in given:
            if value is None:
                continue
            said = naming(place, name)
            if said in places:
                raise Unsupported(f"GA4 would get {places[said]} and {place} as one, {said!r}; rename one of them")
            places[said] = place
            yield place, said, value

    def _said(self, name: str) -> str:
        return "_".join(_words(name)) if self.convert else name

    def _parameter_name(self, place: str, name: str) -> str:
        said = self._said(name)
        if not _is_name(said, NAME_CHARACTERS) or said in _RESERVED_PARAMETERS or said.startswith(_PREFIXES):
            _refuse_name("parameter", NAME_CHARACTERS, place)
        return said

    def _user_property_name(self, place: str, name: str) -> str:
        said = self._said(name)
        if (
            not _is_name(said, USER_PROPERTY_CHARACTERS)
            or said in _RESERVED_USER_PROPERTIES
            or said.startswith(_PREFIXES)
        ):
            _refuse_name("user property", USER_PROPERTY_CHARACTERS, place)
        return said

    def _value(self, place: str, name: str, value: Any) -> Any:
        if isinstance(value, (dict, list)):
            if self.adapt:
                return None
            raise Unsupported(
                f"GA4 takes text, numbers and booleans as parameters; {place} is {_kind(value)} "
                "(unfit='adapt' leaves it out)"
            )
        limit = LONG_VALUES.get(name, self.value_limit)
        if not isinstance(value, str) or len(value) <= limit:
            return value
        if self.adapt:
            return value[:limit]
        raise Unsupported(f"GA4 takes {limit} characters in {name}; {place} has {len(value)} (unfit='adapt' cuts it)")

    def _item(self, place: str, number: int, item: dict[str, Any]) -> dict[str, Any]:
        """Return one of ``items``; its members follow the rules of parameters, but for their number."""
        members = ((f"{place}[{number}].{name}", name, value) for name, value in item.items())
        fitting = ((n, self._value(p, n, v)) for p, n, v in self._named(members, self._parameter_name))
        return {name: value for name, value in fitting if value is not None}


def _is_name(name: str, most: int) -> bool:
    return len(name) <= most and name[:1].isalpha() and _is_word(name) is not None


def _refuse_name(what: str, most: int, place: str) -> NoReturn:
    raise Unsupported(
        f"GA4 takes {what} names of at most {most} letters, digits and underscores that start with a letter and are "
        f"not its own, so not that of {_short(place)}; rename it"
    )


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "a list"


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"

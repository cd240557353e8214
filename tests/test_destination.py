"""A provider that a user configured."""

from typing import Any

import pytest

from unitrack.destination import Destination
from unitrack.errors import ConfigError
from unitrack.providers import Hightouch
from unitrack.settings import Settings

KEY = "write-key-1"
CDP = Hightouch(write_key=KEY)


def test_nothing_is_filtered_by_default() -> None:
    plain = Destination(CDP)
    assert (plain.events, plain.kinds, plain.sample, plain.consent) == (None, None, 1.0, None)
    assert (plain.drop, plain.redact, plain.unsupported, plain.allow_http) == (None, None, "reject", False)


@pytest.mark.parametrize("name", ["events", "consent", "drop", "redact"])
def test_one_word_is_a_list_of_one(name: str) -> None:
    assert getattr(Destination(CDP, **{name: "properties.a"}), name) == ("properties.a",)
    assert getattr(Destination(CDP, **{name: ["a", "b"]}), name) == ("a", "b")


@pytest.mark.parametrize("name", ["events", "kinds", "consent", "drop", "redact"])
@pytest.mark.parametrize("value", [5, True, {"a": 1}, [5], [None], [""], "", [["a"]]], ids=repr)
def test_a_list_that_holds_something_else_is_refused_naming_it(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Destination(CDP, **{name: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(name)


def test_one_for_everyone_keeps_all_but_the_choice_of_messages() -> None:
    rest: dict[str, Any] = {"kinds": ["track"], "drop": ["properties.a"], "allow_http": True, "linger": 2.0}
    chosen = Destination(CDP, events=["Order *"], sample=0.5, consent=["ads"], **rest)
    assert chosen.for_everyone() == Destination(CDP, **rest)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kinds": ["identfy"]}, "did you mean 'identify'"),
        ({"sample": 1.01}, "sample must be a share between 0 and 1"),
        ({"sample": -0.1}, "sample"),
        ({"sample": float("nan")}, "sample"),
        ({"sample": "0.5"}, "sample"),
        ({"sample": True}, "sample"),
        ({"unsupported": "ignore"}, "unsupported must be one of 'reject', 'skip'"),
        ({"allow_http": "yes"}, "allow_http must be true or false"),
        ({"lingr": 1}, "did you mean 'linger'"),
        ({"linger": -1}, "linger must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"event": "Order *"}, "'event' is no setting of a destination (did you mean 'events'?)"),
        ({"strict": True}, "'strict' is no setting of a destination; it is one of the whole client"),
        ({"mode": "sync"}, "'mode' is no setting of a destination; it is one of the whole client"),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused_naming_it(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Destination(CDP, **given)
    assert says in str(caught.value)


@pytest.mark.parametrize("given", [Hightouch, "hightouch", None, 3, object()], ids=lambda given: type(given).__name__)
def test_a_provider_is_an_object_with_its_credentials(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"provider must be a provider such as Hightouch\(write_key=…\)"):
        Destination(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [(Hightouch, "not the class Hightouch; call it"), ("hightouch", r"by name in Client\.from_config")],
    ids=["class", "name"],
)
def test_a_class_or_a_name_for_a_provider_is_told_what_to_do(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Destination(given)


def test_its_own_settings_lie_on_top_of_the_clients() -> None:
    common = Settings(linger=0.5, timeout=10)
    own = Destination(CDP, linger=0.1, max_events=5).settings(common)
    assert (own.linger, own.max_events, own.timeout) == (0.1, 5, 10)
    assert common == Settings(linger=0.5, timeout=10)


def test_its_repr_shows_no_secret() -> None:
    assert KEY not in repr(Destination(CDP, transport=object()))

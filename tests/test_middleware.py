"""The ready-made functions from message to message."""

import pytest

from unitrack.errors import ConfigError
from unitrack.message import Identify, Track
from unitrack.middleware import add_context, drop, redact


def test_context_is_added_where_the_caller_gave_none_of_that_name() -> None:
    add = add_context({"release": "2024.2", "app": {"name": "shop"}})
    message = Track(user_id="u", event="E", context={"release": "own", "ip": "1"})
    assert add(message) == Track(user_id="u", event="E", context={"release": "own", "ip": "1", "app": {"name": "shop"}})
    assert message.context == {"release": "own", "ip": "1"}


def test_what_is_added_was_fixed_when_the_middleware_was_made() -> None:
    members = {"release": "2024.2"}
    add = add_context(members)
    members["release"] = "2024.3"
    changed = add(Track(event="E"))
    assert changed is not None
    assert changed.context == {"release": "2024.2"}


def test_members_are_dropped_or_redacted_by_their_path() -> None:
    message = Identify(user_id="u", traits={"email": "a@b.c", "ssn": "1", "plan": "pro"})
    assert drop("traits.email", "$.traits.ssn")(message) == Identify(user_id="u", traits={"plan": "pro"})
    assert redact("traits.email")(message) == Identify(
        user_id="u", traits={"email": "[redacted]", "ssn": "1", "plan": "pro"}
    )


@pytest.mark.parametrize("make", [drop, redact])
def test_a_wrong_path_is_found_when_the_middleware_is_made(make: type) -> None:
    with pytest.raises(ConfigError, match="is no path"):
        make("email")


@pytest.mark.parametrize("make", [drop, redact])
def test_without_paths_nothing_changes(make: type) -> None:
    message = Track(event="E", properties={"a": 1})
    assert make()(message) is message

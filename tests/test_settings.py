"""Delivery settings: what is refused, and what one destination can have for itself."""

from typing import Any

import pytest
from attrs import fields, fields_dict
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import ConfigError
from unitrack.settings import MOST_SECONDS, PER_DESTINATION, Settings

SECONDS = [
    "block_timeout", "linger", "timeout", "connect_timeout", "delivery_deadline", "max_retry_after",
    "shutdown_timeout", "probe_interval",
]  # fmt: skip
WHOLE = ["max_events", "max_bytes", "batch_size", "concurrency", "max_retries"]
FLAGS = ["strict", "debug", "allow_unsafe_broker"]
OPTIONAL = {"batch_size", "concurrency", "max_retries", "delivery_deadline"}


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert {name: field.default for name, field in fields_dict(Settings).items()} == {
        "queue": "memory:",
        "durability": "process",
        "workers": "internal",
        "allow_unsafe_broker": False,
        "mode": "background",
        "max_events": 100_000,
        "max_bytes": 64 * 1024 * 1024,
        "on_full": "drop_newest",
        "block_timeout": 1.0,
        "linger": 0.25,
        "batch_size": None,
        "concurrency": None,
        "timeout": 30.0,
        "connect_timeout": 5.0,
        "max_retries": None,
        "delivery_deadline": None,
        "max_retry_after": 3600.0,
        "shutdown_timeout": 5.0,
        "probe_interval": 30.0,
        "strict": False,
        "debug": False,
    }


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [-0.001, float("nan"), float("inf"), 1e300, "5", True, [1]], ids=repr)
def test_a_time_is_a_number_that_one_can_wait_for(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        Settings(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [-1, 1.5, 2.0, "5", True, float("inf")], ids=repr)
def test_a_count_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be a whole number of at least [01]"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", [name for name in [*SECONDS, *WHOLE] if name not in OPTIONAL])
def test_a_number_that_is_needed_cannot_be_none(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        Settings(**{name: None})


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_a_number_that_is_optional_can_be_none(name: str) -> None:
    assert getattr(Settings(**{name: None}), name) is None


@pytest.mark.parametrize("name", ["max_events", "max_bytes", "batch_size", "concurrency", "timeout", "probe_interval"])
def test_nothing_at_all_is_too_little(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        Settings(**{name: 0})


def test_the_least_of_each_is_taken() -> None:
    none_at_all = {"block_timeout", "linger", "delivery_deadline", "max_retry_after", "shutdown_timeout", "max_retries"}
    least = dict.fromkeys(WHOLE, 1) | dict.fromkeys(SECONDS, 0.001) | dict.fromkeys(none_at_all, 0)
    settings = Settings(**least)
    assert {name: getattr(settings, name) for name in least} == least


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [1, 0, "yes", None], ids=repr)
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be true or false"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("mode", "async", "'background', 'sync'"),
        ("on_full", ["raise"], "'drop_newest', 'drop_oldest', 'block', 'raise'"),
    ],
)
def test_a_word_is_one_of_the_known_ones(name: str, value: Any, choices: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be one of {choices}"):
        Settings(**{name: value})


@given(st.sampled_from(SECONDS), st.floats(0.001, MOST_SECONDS))
def test_any_time_up_to_31_years_is_taken(name: str, value: float) -> None:
    assert getattr(Settings(**{name: value}), name) == value


def test_what_a_destination_can_have_for_itself_are_settings_that_exist() -> None:
    names = {field.name for field in fields(Settings)}
    assert names > PER_DESTINATION
    assert names - PER_DESTINATION == {
        "allow_unsafe_broker",
        "durability",
        "workers",
        "queue",
        "mode",
        "shutdown_timeout",
        "strict",
        "debug",
    }

"""What a message makes of its arguments, before anybody checks it."""

import enum
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from attrs import evolve, fields
from attrs.exceptions import FrozenInstanceError

from unitrack.message import KINDS, Alias, Group, Identify, Page, Screen, Track

INDIA = timezone(timedelta(hours=5, minutes=30))


class Number(int, enum.Enum):
    SEVEN = 7

    def __str__(self) -> str:
        return "the name, not the number"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("u-42", "u-42"),
        (0, "0"),
        (-7, "-7"),
        (10**30, "1" + "0" * 30),
        (Number.SEVEN, "7"),
        (UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        (None, None),
        ("", ""),
        # What is no identifier is kept, so that the snapshot can name it.
        (True, True),
        (1.5, 1.5),
        (b"u", b"u"),
    ],
    ids=repr,
)
def test_whole_numbers_and_uuids_are_identifiers_as_text(given: object, kept: object) -> None:
    message = Track(user_id=given, anonymous_id=given, message_id=given, idempotency_key=given, tenant_id=given)
    found = (message.user_id, message.anonymous_id, message.message_id, message.idempotency_key, message.tenant_id)
    assert found == (kept,) * 5
    assert [type(one) for one in found] == [type(kept)] * 5
    assert Group(group_id=given).group_id == Alias(previous_id=given).previous_id == kept


def test_a_number_of_thousands_of_digits_can_be_given_and_is_judged_later() -> None:
    assert Track(user_id=1 << 20_000).user_id == 1 << 20_000


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (datetime(2024, 2, 29, 10), datetime(2024, 2, 29, 10, tzinfo=UTC)),
        (datetime(2024, 2, 29, 10, tzinfo=INDIA), datetime(2024, 2, 29, 10, tzinfo=INDIA)),
        ("2024-02-29T10:00:00Z", datetime(2024, 2, 29, 10, tzinfo=UTC)),
        ("2024-02-29T10:00:00+05:30", datetime(2024, 2, 29, 10, tzinfo=INDIA)),
        ("2024-02-29T10:00:00.123456+00:00", datetime(2024, 2, 29, 10, 0, 0, 123456, UTC)),
        (None, None),
        # Kept for the snapshot to refuse.
        ("2024-02-29T10:00:00", "2024-02-29T10:00:00"),
        ("2024-02-29", "2024-02-29T00:00:00"),
        ("yesterday", "yesterday"),
        (1709200000, 1709200000),
    ],
    ids=repr,
)
def test_a_timestamp_is_an_instant_and_a_naive_one_is_utc(given: object, meant: object) -> None:
    assert Track(timestamp=given).timestamp == meant


def test_members_that_were_not_given_are_empty() -> None:
    message = Track(properties=None, context=None, integrations=None, options=None, attachments=None, exclude=None)
    assert message == Track()
    assert (message.properties, message.context, message.integrations, message.options) == ({}, {}, {}, {})
    assert (message.attachments, message.exclude, message.only) == ((), (), None)


def test_every_kind_can_be_built_from_nothing_and_is_named() -> None:
    assert [cls().kind for cls in KINDS.values()] == list(KINDS)
    assert [cls.__name__.lower() for cls in KINDS.values()] == list(KINDS)


def test_a_message_cannot_be_changed_but_copied_with_changes() -> None:
    message = Identify(user_id="u")
    with pytest.raises(FrozenInstanceError):
        message.user_id = "other"  # type: ignore[misc]
    assert evolve(message, user_id="other").user_id == "other"
    assert message.user_id == "u"


def test_members_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        Track("u-42", "Order Paid")  # type: ignore[misc]


@pytest.mark.parametrize("cls", [Page, Screen])
def test_page_and_screen_take_the_same(cls: type[Page | Screen]) -> None:
    assert {field.name for field in fields(cls)} - {field.name for field in fields(Alias)} == {
        "category",
        "name",
        "properties",
    }

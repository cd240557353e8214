"""What a message must be to be sent, and what is fixed in it, once."""

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from tests.interrupting import alarms
from unitrack.attachment import Attachment
from unitrack.codec import pack, unpack
from unitrack.errors import InvalidMessage
from unitrack.message import KINDS, Alias, Group, Identify, Message, Page, Track
from unitrack.phone import Phone
from unitrack.secret import Secret
from unitrack.snapshot import MessageIds, snapshot

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))


def taken(message: Message, before: Message | None = None) -> Message:
    return snapshot(message, lambda: "new-id", lambda: NOW, before)[0]


def refusal(message: Message) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        taken(message)
    return caught.value


def track(**members: Any) -> Track:
    return Track(**({"user_id": "u", "event": "E"} | members))


# -- identifiers

IDENTIFIERS = ["user_id", "anonymous_id", "message_id", "idempotency_key", "tenant_id"]


@pytest.mark.parametrize(
    ("message", "path"),
    [
        *((Track(**({"user_id": "u", "event": "E"} | {name: Secret("s3cr3t")})), f"$.{name}") for name in IDENTIFIERS),
        (Track(user_id="u", event=Secret("s3cr3t")), "$.event"),
        (Page(user_id="u", category=Secret("s3cr3t")), "$.category"),
        (Track(user_id="u", event="E", properties={Secret("s3cr3t"): 1}), "$.properties"),
        (Track(user_id="u", event="E", properties={"a": [{Secret("s3cr3t"): 1}]}), "$.properties.a[0]"),
    ],
)
def test_a_credential_is_refused_wherever_it_is_given_as_data(message: Message, path: str) -> None:
    error = refusal(message)
    assert (error.path, "s3cr3t" in str(error)) == (path, False)


class Tier(Enum):
    FREE = 1


@pytest.mark.parametrize("name", IDENTIFIERS)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("u-42", "u-42"),
        (" u 42 ", " u 42 "),
        (0, "0"),
        (7, "7"),
        (UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        ("a\ud800", "a\N{REPLACEMENT CHARACTER}"),
        ("line\r\nbreak\x00", "line\r\nbreak\x00"),
        ("x" * 10_000, "x" * 10_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_identifier_is_text(name: str, given: object, kept: str) -> None:
    assert getattr(taken(evolve(track(), **{name: given})), name) == kept


@pytest.mark.parametrize("name", IDENTIFIERS)
@pytest.mark.parametrize(
    "given", [True, False, 1.5, b"u", ["u"], {}, object(), Tier.FREE], ids=lambda given: type(given).__name__
)
def test_what_could_be_two_identifiers_is_none(name: str, given: object) -> None:
    error = refusal(evolve(track(), **{name: given}))
    assert error.path == "$." + name
    assert f"must be text, a whole number or a UUID, not {type(given).__name__}" in error.reason


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_a_number_of_thousands_of_digits_is_refused_with_advice(name: str) -> None:
    error = refusal(evolve(track(), **{name: 1 << 20_000}))
    assert (error.path, error.reason) == ("$." + name, "has too many digits; send it as text")


BLANKS = ["", " ", "\t\n", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}"]


@pytest.mark.parametrize("blank", BLANKS, ids=repr)
def test_a_blank_identifier_is_absent(blank: str) -> None:
    message = taken(track(anonymous_id=blank, message_id=blank, idempotency_key=blank, tenant_id=blank, phone=blank))
    assert (message.anonymous_id, message.idempotency_key, message.tenant_id, message.phone) == (None,) * 4
    assert (message.message_id, message.has_own_id) == ("new-id", False)
    assert taken(track(user_id=blank, anonymous_id="a")).user_id is None
    assert taken(track(phone=Phone(blank, "+91"))).phone is None


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group"])
@pytest.mark.parametrize("blank", [None, *BLANKS], ids=repr)
def test_somebody_must_have_done_it(kind: str, blank: str | None) -> None:
    own = {"track": {"event": "E"}, "group": {"group_id": "g"}}.get(kind, {})
    error = refusal(KINDS[kind](user_id=blank, anonymous_id=blank, phone=blank, **own))
    assert error.path == "$.user_id"
    assert "say who it was" in error.reason


@pytest.mark.parametrize(
    "identity",
    [{"user_id": 0}, {"anonymous_id": "a"}, {"phone": "+919999999999"}, {"options": {"push": {"device": "d"}}}],
    ids=repr,
)
def test_any_identity_is_enough(identity: dict[str, Any]) -> None:
    assert taken(Identify(**identity))


# -- what each kind needs


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (track(event=""), "$.event"),
        (track(event="  "), "$.event"),
        (track(event=None), "$.event"),
        (track(event=7), "$.event"),
        (Page(user_id="u", name=7), "$.name"),
        (Page(user_id="u", category=["a"]), "$.category"),
        (Group(user_id="u"), "$.group_id"),
        (Group(user_id="u", group_id=" "), "$.group_id"),
        (Alias(user_id="u"), "$.previous_id"),
        (Alias(previous_id="a"), "$.user_id"),
        (Alias(previous_id="a", anonymous_id="b"), "$.user_id"),
        (Alias(user_id="u", previous_id=False), "$.previous_id"),
        (track(properties=[("a", 1)]), "$.properties"),
        (track(properties={"a": [object()]}), "$.properties.a[0]"),
        (Identify(user_id="u", traits={"a": 1j}), "$.traits.a"),
        (track(context="c"), "$.context"),
        (track(integrations={"All": object()}), "$.integrations.All"),
        (track(phone="12 34"), "$.phone"),
        (track(attachments="https://shop.example/a"), "$.attachments"),
        (track(attachments=0), "$.attachments"),
        (track(attachments=[Attachment("file:///etc/passwd")]), "$.attachments[0].url"),
        (track(options=["cdp"]), "$.options"),
        (track(options=0), "$.options"),
        (track(options={7: {}}), "$.options"),
        (track(options={"cdp": "all"}), "$.options.cdp"),
        (track(options={"cdp": {"a": object()}}), "$.options.cdp.a"),
        (track(only="cdp"), "$.only"),
        (track(only=""), "$.only"),
        (track(only=0), "$.only"),
        (track(only=[7]), "$.only"),
        (track(exclude="cdp"), "$.exclude"),
        (track(exclude=""), "$.exclude"),
        (track(exclude=0), "$.exclude"),
        (track(exclude=[None]), "$.exclude"),
        (track(timestamp="2024-02-29"), "$.timestamp"),
        (track(timestamp="2024-02-29T10:00:00"), "$.timestamp"),
        (track(timestamp="yesterday"), "$.timestamp"),
        (track(timestamp=""), "$.timestamp"),
        (track(timestamp=1709200000), "$.timestamp"),
        (track(timestamp=1709200000.5), "$.timestamp"),
        (track(timestamp=True), "$.timestamp"),
        (track(timestamp=datetime.min.replace(tzinfo=INDIA)), "$.timestamp"),
        (track(timestamp=datetime.max.replace(tzinfo=timezone(-timedelta(hours=8)))), "$.timestamp"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_member_is_refused_with_its_path(message: Message, path: str) -> None:
    assert refusal(message).path == path


def test_a_name_is_kept_as_it_was_given() -> None:
    page = taken(Page(user_id="u", category="", name=" Docs \ud800"))
    assert isinstance(page, Page)
    assert (page.category, page.name) == ("", " Docs \N{REPLACEMENT CHARACTER}")
    assert taken(track(event=" Order  Paid ")).event == " Order  Paid "  # type: ignore[union-attr]


def test_paths_of_what_became_null_come_from_all_members() -> None:
    nan = float("nan")
    message = track(properties={"p": nan}, context={"c": [nan]}, integrations={"i": nan}, options={"cdp": {"o": nan}})
    _, nulled = snapshot(message, lambda: "id", lambda: NOW)
    assert sorted(nulled) == ["$.context.c[0]", "$.integrations.i", "$.options.cdp.o", "$.properties.p"]


def test_lists_of_destinations_are_copied() -> None:
    only, exclude = ["a"], ["b"]
    message = taken(track(only=only, exclude=exclude))
    only.append("c")
    exclude.append("c")
    assert (message.only, message.exclude) == (("a",), ("b",))
    assert taken(track(only=[])).only == ()
    assert taken(track(only={"a"})).only == ("a",)


def test_attachments_phone_and_options_are_checked_and_kept() -> None:
    there, missing = Attachment("https://shop.example/a", "caf\ud800.pdf"), Attachment(None, "b", True)
    message = taken(track(attachments=[there, missing], phone="+919999999999", options={"cdp": {"a": 1}}))
    assert [file.filename for file in message.attachments] == ["caf\N{REPLACEMENT CHARACTER}.pdf"]
    assert message.phone == Phone("9999999999", "+91")
    assert message.options == {"cdp": {"a": 1}}


# -- id and time


class Unsure(tzinfo):
    def __repr__(self) -> str:
        return "Unsure()"  # the same in every process of a test run

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (datetime(2024, 2, 29, 10), "2024-02-29T10:00:00+00:00"),
        (datetime(2024, 2, 29, 10, tzinfo=INDIA), "2024-02-29T10:00:00+05:30"),
        (datetime(2024, 2, 29, 10, tzinfo=Unsure()), "2024-02-29T10:00:00+00:00"),
        ("2024-02-29T10:00:00.5+05:30", "2024-02-29T10:00:00.500000+05:30"),
        (datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=19_270))), "1899-12-31T18:38:50+00:00"),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00+00:00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999+00:00"),
    ],
    ids=repr,
)
def test_a_time_of_ones_own_is_kept_as_that_instant(given: object, sent: str) -> None:
    message = taken(track(timestamp=given))
    assert message.timestamp is not None
    assert message.timestamp.isoformat() == sent
    assert message.has_own_time


def test_without_them_id_and_time_are_fixed_once() -> None:
    message = taken(track())
    assert (message.message_id, message.has_own_id) == ("new-id", False)
    assert (message.timestamp, message.has_own_time) == (NOW, False)


def test_an_id_of_ones_own_is_kept_and_flagged() -> None:
    message = taken(track(message_id="mine"))
    assert (message.message_id, message.has_own_id) == ("mine", True)


def test_nobody_can_claim_an_id_or_time_that_he_did_not_give() -> None:
    message = taken(track(has_own_id=True, has_own_time=True))
    assert (message.has_own_id, message.has_own_time) == (False, False)


# -- after a middleware

OWN = [{}, {"message_id": "mine"}, {"timestamp": NOW - timedelta(1)}, {"message_id": "mine", "timestamp": NOW}]


@pytest.mark.parametrize("own", OWN, ids=repr)
def test_a_second_check_changes_nothing(own: dict[str, Any]) -> None:
    first = taken(track(**own, properties={"a": 1}, options={"cdp": {"a": 1}}, only=["cdp"], phone="+4479"))
    again = snapshot(first, lambda: "other", lambda: NOW + timedelta(1), first)[0]
    assert again == first
    assert taken(first) == first


@pytest.mark.parametrize("own", OWN, ids=repr)
@pytest.mark.parametrize(
    "change",
    [
        lambda m: evolve(m, context={**m.context, "release": "1"}),
        lambda m: evolve(m, properties={"b": 2}),
        lambda m: Track(user_id="u", event="E", message_id=m.message_id, timestamp=m.timestamp, has_own_id=m.has_own_id,
                        has_own_time=m.has_own_time),
    ],
    ids=["context", "properties", "made anew"],
)  # fmt: skip
def test_a_middleware_leaves_the_flags_of_id_and_time_as_they_were(
    own: dict[str, Any], change: Callable[[Any], Message]
) -> None:
    first = taken(track(**own))
    second = taken(change(first), first)
    assert (second.message_id, second.timestamp) == (first.message_id, first.timestamp)
    assert (second.has_own_id, second.has_own_time) == (first.has_own_id, first.has_own_time)


def test_a_middleware_can_choose_id_and_time() -> None:
    first = taken(track())
    second = taken(evolve(first, message_id="m", timestamp=NOW - timedelta(1)), first)
    assert (second.has_own_id, second.has_own_time) == (True, True)
    third = taken(evolve(second, message_id=None, timestamp=None), second)
    assert (third.message_id, third.has_own_id, third.timestamp, third.has_own_time) == ("new-id", False, NOW, False)


# -- anything at all

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()))
    | st.binary() | st.datetimes(timezones=st.sampled_from([None, UTC, INDIA])) | st.uuids() | st.decimals()
    | st.builds(Phone, st.text(), st.none() | st.text()) | st.builds(Attachment, st.text(), st.text()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.data())
def test_any_arguments_are_taken_or_refused_and_what_is_taken_can_be_queued(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(sorted(KINDS.values(), key=lambda cls: cls.kind)))
    names = [field.name for field in fields(cls)]
    members = data.draw(st.dictionaries(st.sampled_from(names), anything, max_size=5))
    good = {"user_id": "u", "event": "E", "group_id": "g", "previous_id": "p"}
    try:
        message = taken(cls(**{name: value for name, value in good.items() if name in names} | members))
    except InvalidMessage as error:
        assert error.path.startswith("$.")  # noqa: PT017
        return
    assert unpack(pack(message)) == message


# -- ids


def test_ids_are_random_uuids() -> None:
    ids = MessageIds()
    for _ in range(1_000):
        text = ids()
        parsed = UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, RFC_4122)


def test_all_122_bits_are_random() -> None:
    ids = MessageIds()
    ones = 0
    zeros = 0
    for _ in range(1_000):
        number = UUID(ids()).int
        ones |= number
        zeros |= ~number
    assert (ones & zeros & (2**128 - 1)).bit_count() == 122


def test_a_million_ids_are_different() -> None:
    ids = MessageIds()
    assert len({ids() for _ in range(1_000_000)}) == 1_000_000


def test_threads_share_no_id() -> None:
    ids = MessageIds()
    found: list[list[str]] = [[] for _ in range(8)]

    def make(own: list[str]) -> None:
        own.extend(ids() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for own in found for one in own}) == 40_000


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the threads are pytest's own
def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    ids = MessageIds()
    ids()  # the block is begun before the fork
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os.write(write, "\n".join(ids() for _ in range(1_000)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    ours = [ids() for _ in range(1_000)]
    assert len({*theirs, *ours}) == 2_000


def test_a_signal_handler_in_the_middle_of_a_call_makes_another_id() -> None:
    ids = MessageIds()
    made: list[str] = []

    with alarms(lambda: made.extend(ids() for _ in range(3)), every=0.0002):
        ours = [ids() for _ in range(100_000)]
    assert made
    assert len({*ours, *made}) == len(ours) + len(made)

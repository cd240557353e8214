"""Objects that fail, lie or never end when they are looked at: they cost their own message and nothing else."""

import itertools
import json
import sys
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

import orjson
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.vendors import hightouch
from tests.faults.world import FaultServer, assert_conserved
from tests.patience import SLACK
from unitrack import Attachment, Client, InvalidMessage, Phone, Receipt
from unitrack.values import encode_object


class Raises:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def _raise(self, *_: object) -> Any:
        raise ZeroDivisionError

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __int__ = __float__ = __index__ = __call__ = _raise
    __eq__ = _raise  # type: ignore[assignment]
    __hash__ = object.__hash__


class LiesAboutItsClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ZeroDivisionError

    __slots__ = ()


class PretendsToBeADict:
    __class__ = dict  # type: ignore[assignment]


class EndlessList(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class EndlessMapping(UserDict[str, Any]):
    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"k{number}"

    def __getitem__(self, key: str) -> Any:
        return 1

    def __len__(self) -> int:
        return 1


class BrokenMapping(UserDict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError


class BrokenText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__
    encode = isspace = strip = __str__  # type: ignore[assignment]


class BrokenNumber(float):
    def __float__(self) -> float:
        raise ZeroDivisionError


class BrokenWhole(int):
    def __int__(self) -> int:
        raise ZeroDivisionError

    __repr__ = __str__ = __index__ = __int__  # type: ignore[assignment]


class BrokenZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> Any:
        raise ZeroDivisionError

    tzname = dst = utcoffset


class FickleZone(tzinfo):
    """Answers once, then raises."""

    asked = 0

    def utcoffset(self, when: datetime | None) -> Any:
        self.asked += 1
        if self.asked > 1:
            raise ZeroDivisionError
        return UTC.utcoffset(None)

    tzname = dst = utcoffset


@frozen
class HalfMade:
    """An attrs object without its attribute."""

    value: int

    def __attrs_pre_init__(self) -> None:
        raise ZeroDivisionError


def _generator() -> Iterator[int]:
    yield 1


_numbers = itertools.count()

#: Made anew for each place: some can be asked only once.
HOSTILE: dict[str, Callable[[], Any]] = {
    "object": object,
    "lambda": lambda: lambda: None,
    "generator": _generator,
    "open file": lambda: sys.__stdin__,
    "lock": threading.Lock,
    "class": lambda: Raises,
    "module": lambda: sys,
    "exception": lambda: ValueError("x"),
    "raises": Raises,
    "lies about its class": LiesAboutItsClass,
    "pretends to be a dict": PretendsToBeADict,
    "endless list": lambda: EndlessList([1]),
    "endless mapping": EndlessMapping,
    "broken mapping": lambda: BrokenMapping(a=1),
    "broken text": lambda: BrokenText(f"text {next(_numbers)}"),
    "broken number": lambda: BrokenNumber(1.5),
    "broken whole number": lambda: BrokenWhole(next(_numbers)),
    "broken zone": lambda: datetime(2024, 1, 1, tzinfo=BrokenZone()),
    "fickle zone": lambda: datetime(2024, 1, 1, tzinfo=FickleZone()),
    "half made": lambda: HalfMade.__new__(HalfMade),
    "memoryview": lambda: memoryview(b"x"),
    "endless range": lambda: range(10**30),
}

#: Every place of a message where a caller can put anything.
PLACES: dict[str, Callable[[Client, Any], Receipt]] = {
    "a property": lambda client, x: client.track("u", "E", {"x": x}),
    "deep inside": lambda client, x: client.track("u", "E", {"a": [{"b": (x,)}], "odd": 2**70}),
    "a key": lambda client, x: client.track("u", "E", {x: 1}),
    "properties": lambda client, x: client.track("u", "E", x),
    "traits": lambda client, x: client.identify("u", x),
    "context": lambda client, x: client.track("u", "E", context=x),
    "integrations": lambda client, x: client.track("u", "E", integrations=x),
    "options": lambda client, x: client.track("u", "E", options=x),
    "an option": lambda client, x: client.track("u", "E", options={"cdp": {"x": x}}),
    "user_id": lambda client, x: client.track(x, "E"),
    "anonymous_id": lambda client, x: client.track(None, "E", anonymous_id=x),
    "event": lambda client, x: client.track("u", x),
    "page name": lambda client, x: client.page("u", x, x),
    "group_id": lambda client, x: client.group("u", x),
    "previous_id": lambda client, x: client.alias(x, "u"),
    "phone": lambda client, x: client.track("u", "E", phone=x),
    "phone number": lambda client, x: client.track("u", "E", phone=Phone(x, x)),
    "timestamp": lambda client, x: client.track("u", "E", timestamp=x),
    "message_id": lambda client, x: client.track("u", "E", message_id=x),
    "idempotency_key": lambda client, x: client.track("u", "E", idempotency_key=x),
    "attachments": lambda client, x: client.track("u", "E", attachments=x),
    "an attachment": lambda client, x: client.track("u", "E", attachments=[x]),
    "an attachment's URL": lambda client, x: client.track("u", "E", attachments=[Attachment(x)]),
    "only": lambda client, x: client.track("u", "E", only=x),
    "exclude": lambda client, x: client.track("u", "E", exclude=x),
    "one of only": lambda client, x: client.track("u", "E", only=[x]),
    "the message": lambda client, x: client.enqueue(x),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_M13_hostile_objects(what: str) -> None:
    """No object, wherever it stands in a call, can raise out of it, hang it or spoil another message."""
    make = HOSTILE[what]
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        for place, call in PLACES.items():
            try:
                thing = make()
                hashable = place != "a key" or hash(thing) is not None
            except Exception:
                hashable = False
            if not hashable:
                continue  # Python itself refuses it as a key
            began = time.perf_counter()
            receipt = call(client, thing)
            assert time.perf_counter() - began < SLACK, place
            assert receipt or receipt.reason, place
        tried = client.stats()["cdp"].accepted
        assert client.track("u", "still alive", {"i": 0})
        assert client.flush(10)
        assert_conserved(client, server.oracle, accepted=tried + 1)
        assert any(message.get("event") == "still alive" for message in server.oracle.messages.values())


@pytest.mark.parametrize("what", HOSTILE)
def test_M13_strict_names_a_hostile_object(what: str) -> None:
    """Under ``strict=True`` a hostile object raises ``InvalidMessage`` and no other exception."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}, strict=True) as client:
        refused: list[str] = []
        for place, call in PLACES.items():
            if place != "a key":
                try:
                    call(client, HOSTILE[what]())
                except InvalidMessage as error:
                    refused.append(error.path)
        assert refused
        assert all(path.startswith("$") for path in refused)
        assert client.flush(10)
        assert_conserved(client, server.oracle)


def test_M13_an_object_that_blocks_holds_up_its_own_caller_only() -> None:
    """An object that is slow to read keeps its own call waiting, and nobody else's."""
    inside, release = threading.Event(), threading.Event()

    class Slow(UserDict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            inside.set()
            release.wait(10)
            return super().__iter__()

    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        thread = threading.Thread(target=client.track, args=("slow", "E", Slow(i=1)))
        thread.start()
        assert inside.wait(5)
        for i in range(100):
            assert client.track("u", "E", {"i": i})
        assert client.flush(5)
        assert client.stats()["cdp"].delivered == 100
        release.set()
        thread.join()
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=101)


_any_text = st.text(st.characters(exclude_categories=()), max_size=20)
_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | _any_text | st.binary(max_size=8) | st.decimals()
    | st.datetimes() | st.dates() | st.times() | st.timedeltas() | st.uuids() | st.complex_numbers() | st.fractions()
    | st.sampled_from([name for name in HOSTILE if "lies" not in name]).map(lambda name: HOSTILE[name]())
)  # fmt: skip
_trees = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner)
        | st.dictionaries(st.none() | st.booleans() | st.integers() | st.floats() | _any_text, inner, max_size=4)
    ),
    max_leaves=10,
)  # fmt: skip


def test_M16_random_trees() -> None:
    """Any tree of values either arrives as strict JSON or is refused by name; nothing else ever comes of it."""

    @settings(max_examples=150)
    @given(st.dictionaries(_any_text, _trees, max_size=4))
    def check(tree: dict[str, Any]) -> None:
        places: list[str] = []
        try:
            raw = encode_object(tree, "$.properties", places).raw
        except InvalidMessage as error:
            places.append(error.path)
        else:
            json.loads(raw, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))
            assert encode_object(orjson.loads(raw), "$", []).data == orjson.loads(raw)
        assert all(path.startswith("$.properties") for path in places)

    check()

"""Values of every kind, good and hostile: what arrives is JSON, what cannot arrive is refused by name."""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.processes import run
from tests.faults.specimens import NAMES, Plan
from tests.faults.world import CANARIES, FaultServer, assert_conserved
from tests.pages import ROOT, table
from unitrack import Client, InvalidMessage, Message, Track
from unitrack.providers import Hightouch
from unitrack.values import encode_object

#: The examples of the page of values: an expression, what it becomes, what is said of it.
VALUES = [[cell.replace("`", "") for cell in row] for row in table(ROOT / "docs" / "values.md", "value")]


def hightouch(server: FaultServer) -> Hightouch:
    return Hightouch(write_key=CANARIES["write_key"], base_url=server.url)


def sent(server: FaultServer) -> list[Mapping[str, Any]]:
    """Return the messages that arrived, in the order of arrival, read by a strict parser."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    found: list[Mapping[str, Any]] = []
    for request in server.requests:
        found += json.loads(request.body, parse_constant=refuse)["batch"]
    return found


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def _circle() -> dict[str, Any]:
    value: dict[str, Any] = {"list": []}
    value["list"].append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [lambda: _nested(1_000), lambda: _nested(100_000), _circle, lambda: dict.fromkeys(map(str, range(100_000)), 1)],
    ids=["1,000 levels", "100,000 levels", "a circle", "100,000 keys"],
)
def test_M6_what_has_no_end(make: Callable[[], dict[str, Any]]) -> None:
    """Properties that are nested without end, contain themselves, or have 100,000 keys are refused within 50 ms."""
    value = make()
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        took = []
        for _ in range(3):
            began = time.thread_time()  # what it costs, not how busy the machine is
            receipt = client.track("u", "E", value)
            took.append(time.thread_time() - began)
            assert not receipt
            assert "$.properties" in (receipt.reason or "")
        assert min(took) < 0.05
        assert client.track("u", "E", {"i": 0})
        assert client.flush(5)
        ledger = assert_conserved(client, server.oracle, accepted=4)["cdp"]
    assert (ledger.delivered, ledger.dropped) == (1, {"invalid": 3})


def test_M7_no_number() -> None:
    """NaN and infinity arrive as null, and the receipt names the places."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        receipt = client.track("u", "E", {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5})
        assert receipt.nulled == ("$.properties.a", "$.properties.b[0]", "$.properties.b[1].c")
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=1)
        assert sent(server)[0]["properties"] == {"a": None, "b": [None, {"c": None}], "d": 1.5}


def test_M7_no_number_as_an_identifier() -> None:
    """NaN is no user id; the message is refused."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        assert "$.user_id" in (client.track(math.nan, "E").reason or "")  # type: ignore[arg-type]
        assert_conserved(client, server.oracle, accepted=1)


_any_text = st.text(st.characters(exclude_categories=()), min_size=1, max_size=20)


def _whole(text: str) -> str:
    """Return text as it must arrive: with U+FFFD for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_M8_text_of_any_kind() -> None:
    """Any text arrives as it was, control characters and NUL included; only half a surrogate pair becomes U+FFFD."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        count = 0

        @settings(max_examples=60)
        @given(text=_any_text, name=_any_text)
        def check(text: str, name: str) -> None:
            nonlocal count
            count += 1
            user, event = f"u{text}", f"e{name}"
            assert client.track(user, event, {text: name}, message_id=f"m{count}")
            assert client.flush(5)
            message = server.oracle.messages[f"m{count}"]
            assert (message["userId"], message["event"]) == (_whole(user), _whole(event))
            assert message["properties"] == {_whole(text): _whole(name)}

        check()
        for text in ("\ud800", "a\x00b", "\x1b[2J", "\u202eabc", "😀", "\u2028"):
            client.track("u", "E", {"text": text}, message_id=f"m{count}-{text!r}")
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=count + 6)
        texts = [message["properties"]["text"] for message in sent(server)[-6:]]
        assert texts == ["\ufffd", "a\x00b", "\x1b[2J", "\u202eabc", "😀", "\u2028"]


def test_M9_large_whole_numbers() -> None:
    """Whole numbers beyond 64 bit arrive as text, thousands of digits are refused by name, and nothing is rounded."""
    numbers = {"2**53": 2**53 + 1, "2**63": 2**63, "2**64": 2**64, "400": 10**400, "low": -(2**63) - 1}
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        assert client.track(10**30, "E", numbers)
        receipt = client.track("u", "E", {"in": {"huge": 10**5_000}})
        assert "$.properties.in.huge: has too many digits" in (receipt.reason or "")
        assert "too many digits" in (client.track(10**5_000, "E").reason or "")
        assert "too many digits" in (client.track("u", "E", {10**5_000: 1}).reason or "")  # type: ignore[dict-item]
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=4)
        [message] = sent(server)
    assert message["userId"] == str(10**30)
    assert message["properties"] == {
        "2**53": 2**53 + 1, "2**63": 2**63, "2**64": str(2**64), "400": str(10**400), "low": str(-(2**63) - 1)
    }  # fmt: skip


def test_M10_keys_that_are_no_text() -> None:
    """Keys that are numbers, booleans, None or enumerations become text; what two keys would share is refused."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        odd: dict[Any, Any] = {2: "int", False: "bool", None: "none", 1.5: "float", Plan.PRO: "enum"}
        assert client.track("u", "E", odd)
        refused: list[tuple[dict[Any, Any], str]] = [
            ({"in": {1: "a", "1": "b"}}, "$.properties.in.1: stands twice"),
            ({"in": {True: "a", "true": "b"}}, "$.properties.in.true: stands twice"),
            ({"in": [{(1, 2): "a"}]}, "$.properties.in[0]: has a key of type tuple"),
            ({"in": {UUID(int=1): "a"}}, "$.properties.in: has a key of type UUID"),
        ]
        for value, reason in refused:
            assert reason in (client.track("u", "E", value).reason or "")
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=5)
        [request] = server.requests
    pairs: list[list[tuple[str, Any]]] = []
    json.loads(request.body, object_pairs_hook=lambda found: pairs.append(found) or dict(found))
    assert all(len(dict(found)) == len(found) for found in pairs)
    assert sent(server)[0]["properties"] == {
        "2": "int", "false": "bool", "null": "none", "1.5": "float", "pro": "enum"
    }  # fmt: skip


def test_M11_properties_that_change_later() -> None:
    """What arrives is what the properties were at the moment of the call."""
    value: dict[str, Any] = {"list": [1, {"a": 1}], "text": bytearray(b"one")}
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        client.track("u", "E", value, context=value)
        value["list"][1]["a"] = 2
        value["text"][:] = b"two"
        value.clear()
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=1)
        [message] = sent(server)
    assert message["properties"] == {"list": [1, {"a": 1}], "text": "one"}
    assert message["context"]["list"] == [1, {"a": 1}]


def test_M11_properties_that_change_during_the_call() -> None:
    """Properties that another thread changes during the call are taken as they were at one moment, or refused."""
    # In a process of its own: the encoder beneath ends the process if it meets a container that changes.
    with FaultServer() as server:
        done = run(
            """
            from collections import OrderedDict
            from decimal import Decimal
            sys.setswitchinterval(1e-6)
            client = make()
            shared = {"plain": {}, "ordered": OrderedDict(), "list": []}
            over = threading.Event()

            def change():
                n = 0
                while not over.is_set():
                    n += 1
                    for each in (shared["plain"], shared["ordered"]):
                        each[f"k{n % 200}"] = Decimal(n)
                        each.pop(f"k{n * 7 % 200}", None)
                    shared["list"] = shared["list"][-50:] + [n]
                    shared["list"].append({"n": n})

            threads = [threading.Thread(target=change) for _ in range(2)]
            for thread in threads: thread.start()
            taken = []
            for i in range(500):
                receipt = client.track("u", "E", {"i": i, **shared})
                assert receipt or "kept changing" in receipt.reason, receipt
                taken.append(bool(receipt))
            over.set()
            for thread in threads: thread.join()
            assert client.flush(20)
            say(f"taken {sum(taken)}")
            """,
            server.url,
        )
        ledger = assert_conserved(done.client, server.oracle, accepted=500)["cdp"]
    assert ledger.delivered == int(done.said("taken")[0]) > 0


@pytest.mark.parametrize(("example", "written", "remark"), VALUES, ids=[row[0] for row in VALUES])
def test_M12_every_common_type(example: str, written: str, remark: str) -> None:
    """Each common type of the standard library, numpy, pandas and Django becomes what docs/values.md says."""
    value = eval(example, dict(NAMES))
    nulled: list[str] = []
    if written == "refused":
        with pytest.raises(InvalidMessage) as refused:
            encode_object({"in": [{"x": value}]}, "$.properties", nulled)
        assert refused.value.path.startswith("$.properties.in[0].x")
        assert remark in refused.value.reason
    else:
        raw = encode_object({"x": value}, "$.properties", nulled).raw.decode()
        assert raw == f'{{"x":{written}}}'
        assert (nulled == ["$.properties.x"]) == ("receipt.nulled" in remark)


def test_M12_other_packages_are_never_imported() -> None:
    """To convert the types of numpy, pandas, pydantic or Django, none of them is imported."""
    done = run(
        """
        client = make()
        client.track("u", "E", {"a": object(), "b": 1j}); client.track("u", "E", {"path": time})
        found = {"numpy", "pandas", "pydantic", "django"} & set(sys.modules)
        say(f"imported {sorted(found)}")
        client.close(0)
        """,
        "http://127.0.0.1:1",
    )
    assert done.said("imported") == ["[]"]


def test_M14_one_bad_message_in_a_bulk() -> None:
    """A message that cannot be encoded costs itself only, whether the client or the provider finds out."""

    class Picky(Hightouch):
        def encode(self, message: Message) -> Any:
            if message.message_id == "m7":
                raise IndexError("a bug in the provider")
            return super().encode(message)

    with FaultServer() as server:
        picky = Picky(write_key=CANARIES["write_key"], base_url=server.url)
        with Client({"cdp": picky}) as client:
            bulk = [Track(user_id="u", event="E", properties={"i": i}, message_id=f"m{i}") for i in range(50)]
            bulk[3] = Track(user_id="u", event="E", properties={"bad": object()}, message_id="m3")
            report = client.send(bulk, timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=50)["cdp"]
    assert (report.success, report.failure) == (48, 2)
    assert [failed.record.message_id for failed in report.failed_records if failed.record] == ["m3", "m7"]
    assert server.oracle.delivered == {f"m{i}" for i in range(50)} - {"m3", "m7"}
    assert (ledger.dropped, ledger.dead) == ({"invalid": 1}, {"provider_error": 1})


@pytest.mark.parametrize(
    ("user_id", "arrives"),
    [
        (42, "42"),
        (0, "0"),
        (-1, "-1"),
        (UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        (" padded ", " padded "),
        ("a\r\nX-Evil: 1", "a\r\nX-Evil: 1"),
        ("x" * 10_000, "x" * 10_000),
        ("", None),
        ("  ", None),
        (None, None),
        (True, None),
        (1.5, None),
        (b"u", None),
        (["u"], None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_M15_user_ids(user_id: Any, arrives: str | None) -> None:
    """Whole numbers and UUIDs are user ids as text; an empty id is none; anything else is refused."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        receipt = client.track(user_id, "E")
        assert bool(receipt) == (arrives is not None)
        assert receipt or "$.user_id" in (receipt.reason or "")
        is_absent = user_id is None or (isinstance(user_id, str) and not user_id.strip())
        assert bool(client.track(user_id, "E", anonymous_id="anon")) == (is_absent or arrives is not None)
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=2)
        if arrives is not None:
            assert sent(server)[0]["userId"] == arrives
            # One header per line that we wrote, whatever stands in an id.
            assert server.requests[0].header("x-evil") is None

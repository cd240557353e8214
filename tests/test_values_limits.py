"""Values without end, and values that somebody else changes or that raise: refused quickly, and nothing breaks."""

import subprocess
import sys
import time
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest

from unitrack.errors import InvalidMessage
from unitrack.values import MAX_DEPTH, MAX_VALUES, encode_object


def refusal(value: object) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        encode_object(value, "$.properties", [])
    return caught.value


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"leaf": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def _self_containing_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value.update({f"k{i}": value for i in range(100)})
    return value


def _self_containing_list() -> dict[str, Any]:
    inner: list[Any] = [1, 2**70]
    inner.append(inner)
    return {"a": inner}


def _set_of_deep_tuples() -> dict[str, Any]:
    value: tuple[Any, ...] = ()
    for _ in range(10_000):
        value = (value,)
    return {"a": value}


def _billion() -> dict[str, Any]:
    value: Any = "ha"
    for _ in range(12):
        value = [value] * 10
    return {"a": value}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nested(1_000), "nested too deeply"),
        (nested(100_000), "nested too deeply"),
        (_self_containing_dict(), "contains itself"),
        (_self_containing_list(), "contains itself"),
        (_set_of_deep_tuples(), "nested too deeply"),
        (_billion(), f"more than {MAX_VALUES} values"),
        ({f"k{i}": i for i in range(100_000)}, f"more than {MAX_VALUES} values"),
        (dict.fromkeys(range(100_000), 1 << 70), f"more than {MAX_VALUES} values"),
    ],
    ids=["1,000", "100,000", "dict in itself", "list in itself", "tuples", "billion", "100,000 keys", "odd keys"],
)
def test_what_has_no_end_is_refused_within_50_ms(value: dict[Any, Any], reason: str) -> None:
    took = []
    for _ in range(3):
        began = time.thread_time()  # what it costs, not how busy the machine is
        assert reason in refusal(value).reason
        took.append(time.thread_time() - began)
    assert min(took) < 0.05


@pytest.mark.parametrize("odd", [{}, {"odd": 2**70}], ids=["fast", "repaired"])
def test_the_limit_of_levels_is_the_same_with_and_without_repair(odd: dict[str, Any]) -> None:
    assert encode_object({**nested(MAX_DEPTH), **odd}, "$", []).data["a"]
    assert "too deeply" in refusal({**nested(MAX_DEPTH + 1), **odd}).reason


def test_a_long_list_is_taken() -> None:
    assert len(encode_object({"a": list(range(MAX_VALUES - 1))}, "$", []).data["a"]) == MAX_VALUES - 1


def test_a_call_deep_in_the_stack_is_taken_or_refused_and_nothing_breaks() -> None:
    def at_depth(frames: int) -> str:
        if frames:
            return at_depth(frames - 1)
        try:
            encode_object({**nested(MAX_DEPTH), "odd": 2**70}, "$", [])
        except InvalidMessage as error:
            return error.reason
        return "taken"

    assert at_depth(100) == "taken"
    assert "too deeply" in at_depth(sys.getrecursionlimit() - 300)


# -- who else may touch them

_RACE = """
import sys, threading, time
from collections import OrderedDict
from decimal import Decimal
from unitrack.errors import InvalidMessage
from unitrack.values import encode_object

sys.setswitchinterval(1e-6)
shared = {kind}((f"k{{i}}", Decimal(i)) for i in range(50))
over = threading.Event()

def change():
    n = 0
    while not over.is_set():
        n += 1
        shared[f"x{{n % 3000}}"] = Decimal(n)
        shared.pop(f"x{{n * 3 % 3000}}", None)
        if n % 1000 == 0:
            shared.clear()

threads = [threading.Thread(target=change) for _ in range(2)]
for thread in threads:
    thread.start()
ends = time.monotonic() + 0.4
taken = 0
while time.monotonic() < ends:
    try:
        encode_object({{"in": shared}}, "$.properties", []).data
        taken += 1
    except InvalidMessage as error:
        assert "kept changing" in str(error), error
over.set()
for thread in threads:
    thread.join()
print(taken)
"""


@pytest.mark.parametrize("kind", ["dict", "OrderedDict"])
def test_a_dict_that_another_thread_changes_is_copied_or_refused_and_nothing_breaks(kind: str) -> None:
    # In a process of its own: before containers were copied first, this ended in a segmentation fault.
    done = subprocess.run([sys.executable, "-c", _RACE.format(kind=kind)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0


class Restless(UserDict[str, Any]):
    """Changes while it is read, a given number of times."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        if self.times:
            self.times -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return super().__iter__()


def test_a_mapping_that_changed_is_read_again_twice_then_refused() -> None:
    value = Restless(a=1)
    value.times = 2
    assert encode_object({"in": value}, "$", []).data == {"in": {"a": 1}}
    value.times = 3
    assert "kept changing" in refusal({"in": value}).reason


@pytest.mark.parametrize("error", [ZeroDivisionError, ValueError, AttributeError, RecursionError])
def test_a_mapping_that_raises_is_refused(error: type[Exception]) -> None:
    class Broken(UserDict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            raise error("oops")

    assert refusal(Broken(a=1)).path == "$.properties"
    assert refusal({"in": Broken(a=1)}).path == "$.properties"

"""What waits for one destination, interrupted anywhere: nothing is lost or doubled, and whoever comes next goes on."""

import linecache
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.interrupting import at_look, interrupted
from unitrack import lanes, position, steps
from unitrack.lanes import Waiting
from unitrack.position import LEASE, Position
from unitrack.queue import Entry, Ready

FILES = {lanes.__file__, position.__file__, steps.__file__}
LATER = 1e9
NEW = 99

SEQS = set(range(1, 13))


def message(seq: int, lane: int = 1, attempts: int = 0, abandoned: int = 0) -> Waiting:
    return (seq, f"m{seq}", lane, b"x" * seq, float(seq), attempts, abandoned)


class Scene:
    """A position with something in every state, and what a caller knows of it."""

    def __init__(self) -> None:
        self.position = Position(13, 1_000)
        for seq in range(1, 11):
            assert self.position.put(message(seq, seq % 4)) is None
        self.position.load(message(11, 5, attempts=1), due=500.0)
        self.position.load(message(12, 6, attempts=2, abandoned=1))
        first = self.position.take(4, None, 0.0)  # 12, then 1 to 3
        self.position.put_back([entry for entry in first if entry.seq in (1, 12)], 0.0, counted=True)
        self.out = [entry for entry in first if entry.seq in (2, 3)]
        self.given_up: list[Entry] = []

    def left(self) -> list[int]:
        """Take all there is, in another thread, after all leases and waits."""
        found: list[int] = []
        done = threading.Event()

        def drain() -> None:
            while taken := self.position.take(3, None, LATER):
                assert self.position.forget(taken) == taken
                found.extend(entry.seq for entry in taken)
            done.set()

        threading.Thread(target=drain, daemon=True).start()
        assert done.wait(10), "the position takes no more calls, or has no end"
        return found


#: What is called, and what may be gone or have come if it was interrupted.
CALLS: dict[str, tuple[Callable[[Scene], object], set[int]]] = {
    "put": (lambda scene: scene.position.put(message(NEW, 2)), {NEW}),
    "put into a full one": (lambda scene: scene.position.put(message(NEW + 900, 2)), set()),
    "load": (lambda scene: scene.position.load(message(NEW, 2, attempts=1), 700.0), {NEW}),
    "take": (lambda scene: scene.position.take(6, None, 1.0), set()),
    "take after a lease": (lambda scene: scene.position.take(6, None, LEASE + 1.0), set()),
    "take after a wait": (lambda scene: scene.position.take(9, None, 501.0), set()),
    "take_expired": (lambda scene: scene.position.take_expired(7.5, 9, 1.0), set()),
    "renew": (lambda scene: scene.position.renew(scene.out[0].lease, 1.0), set()),
    "ready": (lambda scene: scene.position.ready(501.0), set()),
    "done": (lambda scene: scene.position.forget(scene.out), {2, 3}),
    "put_back": (lambda scene: scene.position.put_back(scene.out, 700.0, counted=True), set()),
    "evict": (lambda scene: scene.position.evict({1, 2, 6, 11}, out=True), {1, 2, 6, 11}),
    "pop_oldest": (lambda scene: scene.position.pop_oldest(scene.given_up), set()),
    "drop_oldest": (lambda scene: scene.position.drop_oldest(930, scene.given_up), set()),
}


class Ended(BaseException):
    """As Ctrl-C, and nothing else."""


def at_line(frame: FrameType, event: str, _: dict[FrameType, str]) -> bool:
    """Before each line. The end of a ``with`` is none: Python looks for no signal there."""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
    return event == "line" and not (text.startswith("with self._lock") and frame.f_locals["self"]._lock._is_owned())


def check(scene: Scene, doubtful: set[int]) -> None:
    given_up = {entry.seq for entry in scene.given_up}
    left = scene.left()
    assert len(left) == len(set(left)), "doubled"
    expected = SEQS - given_up
    assert expected - doubtful <= set(left) <= expected | doubtful | given_up
    for lane in range(4):
        of_lane = [seq for seq in left if seq % 4 == lane and seq < 11]
        assert of_lane == sorted(of_lane)
    assert scene.position.ready(LATER) == Ready(0, 0, None, None)
    assert (scene.position.count, scene.position.size, len(scene.position._ids)) == (0, 0, 0)
    assert scene.position.put(message(1)) is None
    assert [entry.seq for entry in scene.position.take(9, None, LATER)] == [1]


@pytest.mark.parametrize("where", [at_line, at_look])
@pytest.mark.parametrize("name", CALLS)
def test_an_exception_from_outside_may_end_any_call_anywhere(name: str, where: Any) -> None:
    call, doubtful = CALLS[name]

    def end() -> None:
        raise Ended

    at = 0
    while True:
        at, scene = at + 1, Scene()
        try:
            if not interrupted(lambda scene=scene: call(scene), at, where, end, FILES):  # type: ignore[misc]
                break
        except Ended:
            pass
        check(scene, doubtful)
    assert at > 2


@pytest.mark.parametrize("where", [at_line, at_look])
@pytest.mark.parametrize("name", CALLS)
def test_what_an_interrupted_call_left_is_put_right_before_anything_else(name: str, where: Any) -> None:
    """Whoever comes next may be interrupted as well, and have a message of a signal handler in the middle."""
    call, doubtful = CALLS[name]
    for at in range(1, 400, 7):
        scene, mended = Scene(), 0
        try:
            if not interrupted(lambda scene=scene: call(scene), at, where, _end, FILES):  # type: ignore[misc]
                break
        except Ended:
            pass
        if not scene.position._steps:
            continue
        while True:
            mended += 11
            try:
                more = interrupted(lambda scene=scene: scene.position.ready(1.0), mended, where, _end, FILES)  # type: ignore[misc]
            except Ended:
                continue
            if not more:
                break
        check(scene, doubtful)


def _end() -> None:
    raise Ended


@pytest.mark.parametrize("where", [at_line, at_look])
@pytest.mark.parametrize("name", CALLS)
def test_a_signal_handler_may_come_in_the_middle_of_any_call(name: str, where: Any) -> None:
    call, _ = CALLS[name]
    at = 0
    while True:
        at, scene = at + 1, Scene()
        sent: list[int] = []
        came: list[int] = []

        def handle(scene: Scene = scene, sent: list[int] = sent, came: list[int] = came) -> None:
            if scene.position.put(message(NEW + 1, 3)) is None:
                came.append(NEW + 1)
            taken = scene.position.take(2, None, 1.0)
            assert scene.position.forget(taken) == taken
            sent += [entry.seq for entry in taken]

        result: list[Any] = []
        if not interrupted(lambda scene=scene, result=result: result.append(call(scene)), at, where, handle, FILES):  # type: ignore[misc]
            break
        [value] = result
        gone = {entry.seq for entry in scene.given_up}
        if name in ("done", "evict"):
            gone = {entry.seq for entry in value}
        if name in ("put", "load") and value is None:
            came.append(NEW)
        left = scene.left()
        everything = [*left, *sent, *gone]
        assert sorted(everything) == sorted([*SEQS, *came])
        assert scene.position.count == 0
    assert at > 2

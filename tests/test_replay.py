"""Dead letters that come back: once, however many bring them."""

import threading
from typing import Any

from tests.desk import CDP, Desk, track
from unitrack.destination import Destination
from unitrack.queue import DeadLetter
from unitrack.queues.memory import MemoryQueue


class Slow(MemoryQueue):
    """Calls something in the middle of a put."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Any = None

    def put(self, *arguments: Any) -> Any:
        stored = super().put(*arguments)
        if self.meanwhile is not None:
            call, self.meanwhile = self.meanwhile, None
            call()
        return stored


def buried(queue: MemoryQueue, number: int = 3) -> tuple[Desk, list[DeadLetter]]:
    desk = Desk(queue=queue, cdp=Destination(CDP))
    for one in range(number):
        desk.take(track(user_id=f"u{one}", message_id=f"m{one}"))
    for entry in queue.take("cdp", 9, None, 0.0):
        queue.bury("cdp", entry, "rejected", "400", 5.0)
        desk.branches["cdp"].book.bury("rejected", [entry.seq])
    return desk, list(queue.dead_letters())


def deliver(desk: Desk) -> int:
    """Send what waits."""
    taken = desk.queue.take("cdp", 9, None, 1.0)
    desk.queue.done("cdp", taken)
    desk.branches["cdp"].book.deliver([entry.seq for entry in taken])
    return len(taken)


def test_two_replays_at_once_send_each_letter_once() -> None:
    """The first copy is sent before the other replay gets to it, so that no id in the queue stops that."""
    queue = Slow()
    desk, letters = buried(queue)
    sent: list[int] = []
    counts: list[int] = []

    def other() -> None:
        sent.append(deliver(desk))
        thread = threading.Thread(target=lambda: counts.append(desk.intake.replay(letters)))
        thread.start()
        thread.join()

    queue.meanwhile = other
    counts.append(desk.intake.replay(letters))
    sent.append(deliver(desk))
    assert (sum(sent), sum(counts)) == (3, 3)
    ledger = desk.ledger()
    assert (ledger.delivered, ledger.pending, ledger.dead) == (3, 0, {})


def test_letters_that_were_brought_back_before_are_left_alone() -> None:
    desk, letters = buried(MemoryQueue())
    assert desk.intake.replay([*letters, letters[0]]) == 3
    assert deliver(desk) == 3
    assert desk.intake.replay(letters) == 0
    assert deliver(desk) == 0
    assert desk.intake._replays._replaying == {}

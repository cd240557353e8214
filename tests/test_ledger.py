"""The books of one destination: they balance at every moment, and a barrier opens exactly when it should."""

import random
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from unitrack.ledger import Book


def test_each_step_of_a_message_is_one_entry() -> None:
    book = Book()
    book.accept(1)
    book.accept(2)
    book.accept(3)
    book.accept(4)
    book.adopt(2)
    book.filter()
    book.refuse("invalid")
    book.reject("unsupported")
    book.deliver([1])
    book.drop("queue_full", [2])
    book.bury("rejected", [3])
    ledger = book.ledger()
    assert (ledger.accepted, ledger.delivered, ledger.filtered, ledger.pending) == (9, 1, 1, 3)
    assert ledger.dropped == {"invalid": 1, "queue_full": 1}
    assert ledger.dead == {"unsupported": 1, "rejected": 1}
    assert ledger.balanced


def test_what_stands_beside_the_equation_does_not_move_it() -> None:
    book = Book()
    book.attempt(1_000)
    book.attempt(500)
    book.again(3)
    book.omit(["phone", "context"])
    book.omit(["phone"])
    ledger = book.ledger()
    assert (ledger.requests, ledger.bytes_sent, ledger.retried) == (2, 1_500, 3)
    assert ledger.omitted == {"phone": 2, "context": 1}
    assert ledger.accepted == 0
    assert ledger.balanced


def test_a_reason_that_never_happened_is_not_listed() -> None:
    book = Book()
    book.drop("queue_full", [])
    book.bury("expired", iter([]))
    assert (book.ledger().dropped, book.ledger().dead) == ({}, {})


def test_a_ledger_that_was_handed_out_stays_as_it_was() -> None:
    book = Book()
    book.accept(1)
    before = book.ledger()
    book.drop("queue_full", [1])
    assert (before.pending, before.dropped) == (1, {})


def test_eight_threads_see_balanced_books_at_every_moment() -> None:
    book = Book()
    over = threading.Event()
    unbalanced = []

    def work(which: int) -> None:
        dice = random.Random(which)
        for number in range(1_500):
            seq = 8 * number + which + 1
            match dice.randint(0, 6):
                case 0:
                    book.filter()
                case 1:
                    book.refuse("invalid")
                case 2:
                    book.reject("unsupported")
                case kind:
                    book.accept(seq)
                    if kind == 3:
                        book.drop("queue_full", [seq])
                    elif kind == 4:
                        book.bury("rejected", [seq])
                    else:
                        book.deliver([seq])

    def watch() -> None:
        while not over.is_set():
            ledger = book.ledger()
            if not ledger.balanced:
                unbalanced.append(ledger)

    watcher = threading.Thread(target=watch)
    workers = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    watcher.start()
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    over.set()
    watcher.join()
    ledger = book.ledger()
    assert unbalanced == []
    assert ledger.balanced
    assert (ledger.accepted, ledger.pending) == (12_000, 0)


# -- barriers


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


def test_with_nothing_pending_a_barrier_is_open_at_once() -> None:
    bell = Bell()
    Book().barrier(5, bell)
    assert bell.rung == 1


def test_a_barrier_opens_with_the_last_message_that_was_accepted_before_it() -> None:
    book, bell = Book(), Bell()
    for seq in (1, 2, 3):
        book.accept(seq)
    book.barrier(4, bell)
    book.accept(5)
    book.deliver([1])
    book.drop("queue_full", [3])
    assert bell.rung == 0
    book.bury("expired", [2])
    assert bell.rung == 1
    book.deliver([5])
    assert bell.rung == 1


def test_messages_accepted_after_a_barrier_do_not_hold_it_up_nor_open_it() -> None:
    book, bell = Book(), Bell()
    book.accept(1)
    book.barrier(2, bell)
    for seq in range(3, 10):
        book.accept(seq)
    book.deliver(range(3, 10))
    assert bell.rung == 0
    book.deliver([1])
    assert bell.rung == 1


def test_a_message_that_drew_its_number_before_the_mark_but_comes_late_is_waited_for() -> None:
    book, bell = Book(), Bell()
    book.accept(1)
    book.barrier(3, bell)
    book.accept(2)
    book.deliver([1])
    assert bell.rung == 0
    book.deliver([2])
    assert bell.rung == 1


def test_a_message_with_a_later_number_that_came_first_does_not_hold_it_up_for_ever() -> None:
    # Between drawing the mark and raising the barrier, another thread can draw 11 and be accepted.
    book, bell = Book(), Bell()
    book.accept(11)
    book.barrier(10, bell)
    book.deliver([11])
    assert bell.rung == 1


def test_messages_of_an_earlier_run_are_waited_for_as_well() -> None:
    book, bell = Book(), Bell()
    book.adopt(2)
    book.barrier(9, bell)
    book.deliver([1])
    assert bell.rung == 0
    book.deliver([2])
    assert bell.rung == 1


def test_a_barrier_that_was_lifted_is_silent_and_leaves_the_others() -> None:
    book, bell, other = Book(), Bell(), Bell()
    book.accept(1)
    lifted = book.barrier(2, bell)
    book.barrier(2, other)
    book.lift(lifted)
    book.lift(lifted)
    book.deliver([1])
    assert (bell.rung, other.rung) == (0, 1)
    book.lift(lifted)


def test_two_barriers_with_the_same_mark_and_the_same_bell_are_two() -> None:
    book, bell = Book(), Bell()
    book.accept(1)
    first, _ = book.barrier(2, bell), book.barrier(2, bell)
    book.lift(first)
    book.deliver([1])
    assert bell.rung == 1


steps = st.lists(st.sampled_from(["draw", "accept", "accept", "settle", "barrier"]), max_size=60)


@given(steps, st.randoms(use_true_random=False))
def test_a_barrier_rings_once_and_never_while_something_from_before_it_is_open(
    steps: list[str], dice: random.Random
) -> None:
    book = Book()
    drawn: list[int] = []
    open_: set[int] = set()
    barriers: list[tuple[Bell, set[int]]] = []
    seq = 0
    for step in steps:
        if step == "draw":
            seq += 1
            drawn.append(seq)
        elif step == "accept" and drawn:
            book.accept(late := drawn.pop(dice.randrange(len(drawn))))
            open_.add(late)
        elif step == "settle" and open_:
            some = dice.sample(sorted(open_), dice.randint(1, len(open_)))
            open_ -= set(some)
            book.deliver(some)
        elif step == "barrier":
            seq += 1
            bell = Bell()
            book.barrier(seq, bell)
            barriers.append((bell, set(open_)))
        for bell, before in barriers:
            if before & open_:
                assert bell.rung == 0
    for one in drawn:
        book.accept(one)
    book.deliver([*open_, *drawn])
    assert [bell.rung for bell, _ in barriers] == [1] * len(barriers)


def test_under_threads_every_flush_ends() -> None:
    book = Book()
    numbers = iter(range(1, 1_000_000))
    lock = threading.Lock()
    over = threading.Event()

    def draw() -> int:
        with lock:
            return next(numbers)

    def track() -> None:
        while not over.is_set():
            seq = draw()
            book.accept(seq)
            book.deliver([seq])

    threads = [threading.Thread(target=track) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            cleared = threading.Event()
            book.barrier(draw(), cleared.set)
            assert cleared.wait(10), "a flush hangs though everything is settled"
    finally:
        over.set()
        for thread in threads:
            thread.join()


# -- room


def test_who_waits_for_room_is_woken_by_the_next_settled_message() -> None:
    book = Book()
    book.accept(1)
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        book.wait_for_room(30)

    thread = threading.Thread(target=wait)
    began = time.monotonic()
    thread.start()
    waits.wait(5)
    while thread.is_alive() and time.monotonic() - began < 10:
        book.accept(2)
        book.deliver([2])
        thread.join(0.01)
    assert not thread.is_alive()


def test_nobody_waits_for_room_longer_than_he_said() -> None:
    began = time.monotonic()
    Book().wait_for_room(0.01)
    assert time.monotonic() - began < 5


def test_a_step_in_the_middle_of_a_step_of_the_same_thread_does_not_lock_up() -> None:
    # As a signal handler or a destructor would do it.
    book = Book()
    book.accept(1)
    book.barrier(2, lambda: book.accept(3))
    book.deliver([1])
    assert book.ledger().balanced

"""What every queue must do, as tests to inherit; a new queue's own test says how to make one, and how it dies."""

import random
import signal
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import count

from ..queue import DeadLetter
from .queue_desk import FAR, RECORD, A, B, ids, lines
from .queue_leases import QueueLeases
from .queue_survival import QueueSurvival


class QueueConformance(QueueSurvival, QueueLeases):
    """Tests of what unitrack relies on in a queue.

    ::

        class TestAcmeQueue(QueueConformance):
            def make(self, folder: Path) -> Queue:
                return AcmeQueue(folder / "acme")

    ``make`` is called with the same folder again where a test opens what an earlier queue left behind. A queue that
    outlives its process also says how a process dies with it (``die``): as if it had been killed, with nothing let go
    of in order.
    """

    # -- in and out

    def test_one_put_serves_all_destinations_and_each_has_its_own_position(self) -> None:
        self.fill(1, 1, names=(A, B))
        [first, _] = self.take()
        self.queue.done(A, [first])
        assert self.ids(name=B) == ["m1", "m2"]

    def test_a_destination_gets_only_what_is_meant_for_it(self) -> None:
        self.fill(1, names=(A,))
        self.fill(1, names=(B,))
        assert (self.ids(name=A), self.ids(name=B)) == (["m1"], ["m2"])

    def test_an_entry_is_what_was_put(self) -> None:
        record = b'{"v":1}\n{"text":"\xc3\xa9","nul":"\\u0000"}\x00\xff\n'
        assert self.put(7, record=record) == {}
        self.settle(self.queue)
        [entry] = self.take()
        assert (entry.message_id, entry.lane, entry.record, entry.attempts, entry.abandoned) == ("m1", 7, record, 1, 0)
        assert entry.accepted_at == self.now
        assert entry.seq == 1

    def test_messages_of_a_lane_come_in_order(self) -> None:
        self.fill(1, 2, 1, 3, 2, 1)
        lanes = lines(self.take())
        assert lanes == {1: ["m1", "m3", "m6"], 2: ["m2", "m5"], 3: ["m4"]}

    def test_a_lane_is_handed_out_to_one_taker_at_a_time(self) -> None:
        self.fill(1, 1, 2)
        assert self.ids(1) == ["m1"]
        assert self.ids() == ["m3"]

    def test_a_lane_goes_on_when_all_that_was_out_of_it_is_settled(self) -> None:
        self.fill(1, 1, 1)
        first, second = self.take(2)
        self.queue.done(A, [first])
        assert self.ids() == []
        self.queue.done(A, [second])
        assert self.ids() == ["m3"]

    def test_no_more_are_handed_out_than_asked_for(self) -> None:
        self.fill(1, 2, 3, 4, 5)
        assert len(self.take(2)) == 2
        assert len(self.take(9)) == 3

    def test_entries_are_handed_out_until_they_have_so_many_bytes(self) -> None:
        self.fill(1, 1, 1, 1)
        assert len(self.queue.take(A, 9, len(RECORD) + 1, self.now)) == 2

    def test_what_comes_while_others_are_out_waits_its_turn(self) -> None:
        self.fill(1)
        out = self.take()
        self.fill(1, 2)
        assert self.ids() == ["m3"]
        self.queue.done(A, out)
        assert self.ids() == ["m2"]

    # -- a message is stored once

    def test_a_message_that_waits_already_is_not_stored_again(self) -> None:
        assert self.put(message_id="same") == {}
        assert self.put(message_id="same") == {A: "duplicate"}
        self.settle(self.queue)
        assert self.ids() == ["same"]

    def test_a_message_that_is_being_sent_is_not_stored_again(self) -> None:
        if self.queue.durability == "shared":
            return  # whoever sends it may be elsewhere; the same put is undone there, another one is another message
        self.put(message_id="same")
        out = self.take()
        assert self.put(message_id="same") == {A: "duplicate"}
        self.queue.done(A, out)
        assert self.put(message_id="same") == {}, "it was delivered, so this is another one"

    def test_only_the_destinations_without_it_get_a_message_again(self) -> None:
        self.put(message_id="same", names=(A,))
        refused = self.put(message_id="same", names=(A, B))
        if self.queue.durability != "shared":
            assert refused == {A: "duplicate"}
            assert self.ids(name=B) == ["same"]

    # -- bounds

    def test_a_full_queue_says_so_and_stores_nothing(self) -> None:
        queue = self.open(max_events=2)
        assert [self.put(queue=queue) for _ in range(3)] == [{}, {}, {A: "full"}]
        assert not queue.has_room(A, 1)

    def test_bytes_are_bounded(self) -> None:
        queue = self.open(max_bytes=2 * len(RECORD))
        assert [self.put(queue=queue) for _ in range(3)] == [{}, {}, {A: "full"}]
        assert queue.has_room(A, 0)
        assert not queue.has_room(A, 1)

    def test_what_is_settled_makes_room(self) -> None:
        queue = self.open(max_events=2)
        self.fill(1, 2, queue=queue)
        out = self.take(1, queue=queue)
        if queue.durability != "shared":  # there the bound is on what has not reached the broker
            assert self.put(queue=queue) == {A: "full"}, "what is out counts"
        queue.done(A, out)
        assert self.put(queue=queue) == {}

    def test_the_oldest_make_room_for_the_newest(self) -> None:
        queue = self.open(max_events=3)
        if queue.durability == "shared":
            return  # what is with the broker is nobody's to give up
        self.fill(1, 1, 2, queue=queue)
        [out] = self.take(1, queue=queue)
        assert ids(queue.drop_oldest(A, len(RECORD))) == ["m2"], "what is out is not given up"
        assert self.put(3, queue=queue) == {}
        queue.done(A, [out])
        assert self.ids(queue=queue) == ["m3", "m4"]

    def test_a_message_may_come_again_for_a_destination_that_was_full(self) -> None:
        queue = self.open(max_events=1)
        for delivered_meanwhile in (False, True):
            self.fill(1, names=(B,), queue=queue)
            seq = next(self._numbers)
            what = (seq, f"m{seq}", 2, RECORD, self.now)
            refused = queue.put(*what, [A, B])
            if queue.durability == "shared":
                return  # there the bound is on what has not reached the broker
            assert refused == {B: "full"}
            if delivered_meanwhile:
                assert ids(queue.done(A, self.take(queue=queue))) == [f"m{seq}"]
            queue.done(B, self.take(name=B, queue=queue))
            assert queue.put(*what, [B]) == {}
            for name in (B,) if delivered_meanwhile else (A, B):
                assert ids(queue.done(name, self.take(name=name, queue=queue))) == [f"m{seq}"]

    def test_nothing_is_given_up_for_what_could_not_fit_anyway(self) -> None:
        queue = self.open(max_bytes=2 * len(RECORD))
        self.fill(1, 1, queue=queue)
        assert list(queue.drop_oldest(A, 3 * len(RECORD))) == []
        assert len(self.take(queue=queue)) == 2

    # -- what there is

    def test_what_waits_is_announced(self) -> None:
        assert self.queue.ready(A, self.now).count == 0
        self.fill(1, 2)
        assert self.queue.ready(A, self.now).count == 2
        assert self.queue.ready(A, self.now).oldest is not None
        assert self.queue.ready(B, self.now).count == 0
        self.queue.done(A, self.take())
        ready = self.queue.ready(A, self.now)
        assert (ready.count, ready.oldest, ready.due) == (0, None, None)
        assert self.queue.waiting(A) == 0

    # -- settling

    def test_what_is_done_is_gone(self) -> None:
        self.fill(1, 1)
        entries = self.take()
        assert ids(self.queue.done(A, entries)) == ["m1", "m2"]
        assert self.ids(later=FAR) == []

    def test_done_twice_counts_once(self) -> None:
        self.fill(1)
        entries = self.take()
        assert len(self.queue.done(A, entries)) == 1
        assert list(self.queue.done(A, entries)) == []

    def test_what_failed_comes_again_but_not_before_its_time(self) -> None:
        self.fill(1, 1, 2)
        entries = [entry for entry in self.take() if entry.lane == 1]
        assert ids(self.queue.retry(A, entries, self.now + 20.0)) in (["m1", "m2"], ["m2", "m1"])
        assert self.ids(later=19.0) == []
        due = self.queue.ready(A, self.now).due
        assert due is not None
        assert abs(due - self.now - 20.0) < 0.01
        again = self.take(later=20.5)
        assert ids(again) == ["m1", "m2"]
        assert [entry.attempts for entry in again] == [2, 2]

    def test_a_lane_that_waits_for_a_time_holds_up_no_other(self) -> None:
        self.fill(1, 2, 1, 2)
        self.queue.retry(A, self.take(1), self.now + 20.0)
        assert self.ids() == ["m2", "m4"]

    def test_what_is_released_was_not_tried(self) -> None:
        self.fill(1)
        for _ in range(3):
            [entry] = self.take()
            assert entry.attempts == 1
            self.queue.release(A, [entry])

    def test_entries_that_come_back_one_by_one_stand_in_their_order_again(self) -> None:
        self.fill(1, 1, 1, 1)
        one, two, three, four = self.take()
        self.queue.retry(A, [two], self.now + 5.0)
        self.queue.release(A, [four])
        self.queue.retry(A, [one], self.now + 3.0)
        self.queue.release(A, [three])
        assert self.ids(later=4.9) == []
        assert self.ids(later=5.1) == ["m1", "m2", "m3", "m4"]

    def test_what_waited_too_long_is_handed_out_due_or_not(self) -> None:
        self.fill(1, 2)
        self.queue.retry(A, self.take(), self.now + 50.0)
        old = self.queue.take_expired(A, self.now + 1.0, 100, self.now)
        assert sorted(ids(old)) == ["m1", "m2"]
        assert list(self.queue.take_expired(A, self.now + 1.0, 100, self.now)) == []
        self.fill(3)
        assert list(self.queue.take_expired(A, self.now - 1.0, 100, self.now)) == []

    def test_while_one_that_waited_too_long_is_out_its_lane_is_held(self) -> None:
        self.fill(1)
        self.queue.release(A, self.take())
        self.fill(1, 1)
        [old] = self.queue.take_expired(A, self.now + 1.0, 1, self.now)
        assert self.ids() == []
        self.queue.release(A, [old])
        assert self.ids() == ["m1", "m2", "m3"]

    # -- dead letters

    def test_a_dead_letter_says_why_and_its_lane_goes_on(self) -> None:
        self.fill(1, 1)
        [entry] = self.take(1)
        assert self.queue.bury(A, entry, "rejected", "400: no such plan", self.now + 1.0)
        assert list(self.queue.dead_letters()) == [
            DeadLetter(A, "m1", "rejected", "400: no such plan", 1, entry.accepted_at, self.now + 1.0, RECORD)
        ]
        assert self.ids() == ["m2"]

    def test_a_message_is_buried_once(self) -> None:
        self.fill(1)
        [entry] = self.take()
        assert self.queue.bury(A, entry, "rejected", "no", self.now)
        assert not self.queue.bury(A, entry, "rejected", "no", self.now)
        assert len(self.queue.dead_letters()) == 1

    def test_a_message_that_never_waited_can_be_a_dead_letter(self) -> None:
        letter = DeadLetter(A, "x", "unsupported", "no page call", 0, self.now, self.now, RECORD)
        self.queue.keep_dead(letter)
        assert list(self.queue.dead_letters(A)) == [letter]
        assert list(self.queue.dead_letters(B)) == []
        assert list(self.queue.dead_letters(A, self.now + 1.0)) == []

    def test_a_dead_letter_is_forgotten_once(self) -> None:
        letter = DeadLetter(A, "x", "unsupported", "no page call", 0, self.now, self.now, RECORD)
        self.queue.keep_dead(letter)
        assert self.queue.discard_dead(letter)
        assert not self.queue.discard_dead(letter)
        assert list(self.queue.dead_letters()) == []

    def test_whoever_forgets_a_letter_that_was_replaced_leaves_the_new_one(self) -> None:
        old = DeadLetter(A, "x", "rejected", "old", 1, self.now, self.now + 0.000_001, RECORD)
        new = DeadLetter(A, "x", "expired", "new", 1, self.now, self.now + 0.000_002, RECORD)
        for letter in (old, new):
            self.queue.keep_dead(letter)
            self.settle(self.queue)
        assert not self.queue.discard_dead(old)
        assert list(self.queue.dead_letters()) == [new]
        assert self.queue.discard_dead(new)

    def test_a_queue_that_works_has_no_trouble(self) -> None:
        self.fill(1)
        self.queue.done(A, self.take())
        assert self.queue.trouble() is None

    def test_dead_letters_come_oldest_first(self) -> None:
        for name in "cab":
            self.queue.keep_dead(DeadLetter(A, name, "rejected", "", 1, self.now, self.now, RECORD))
            self.now += 1.0
        assert [letter.message_id for letter in self.queue.dead_letters()] == ["c", "a", "b"]

    # -- threads and signals

    def test_threads_lose_nothing_double_nothing_and_keep_each_lane_in_order(self) -> None:
        delivered: dict[int, list[int]] = defaultdict(list)
        errors: list[BaseException] = []
        lock, over = threading.Lock(), threading.Event()
        every = 2 * self.many

        def guarded(function: Callable[[int], None], which: int) -> None:
            try:
                function(which)
            except BaseException as error:  # noqa: BLE001  told below
                errors.append(error)
                over.set()

        def produce(which: int) -> None:
            dice = random.Random(which)  # noqa: S311
            for number in range(self.many):
                seq = 2 * number + which + 1
                lane = 10 * which + dice.randint(0, 9)
                assert self.queue.put(seq, f"t{seq}", lane, RECORD, self.now, [A]) == {}

        def consume(which: int) -> None:
            dice = random.Random(100 + which)  # noqa: S311
            while not over.is_set():
                taken = self.queue.take(A, dice.randint(1, 30), None, self.now)
                if not taken:
                    over.wait(0.001)
                keep = [entry for entry in taken if dice.random() < 0.7]
                back = [entry for entry in taken if entry not in keep]
                stopped = {entry.lane for entry in back}
                keep = [entry for entry in keep if entry.lane not in stopped]
                back = [entry for entry in taken if entry.lane in stopped]
                with lock:
                    for entry in keep:
                        delivered[entry.lane].append(entry.seq)
                    if sum(map(len, delivered.values())) >= every:
                        over.set()
                self.queue.done(A, keep)
                self.queue.retry(A, back, 0.0) if dice.random() < 0.5 else self.queue.release(A, back)

        work = [(produce, 0), (produce, 1), (consume, 0), (consume, 1)]
        threads = [threading.Thread(target=guarded, args=one) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not [thread for thread in threads if thread.is_alive()]
        assert errors == []
        assert sum(map(len, delivered.values())) == every
        for line in delivered.values():
            assert line == sorted(set(line))

    def test_a_signal_handler_may_put_in_the_middle_of_any_call(self) -> None:
        put: list[str] = []
        came: list[str] = []
        numbers = count()

        def put_one() -> None:
            number = next(numbers)
            put.append(f"s{number}")
            assert self.put(number % 5, message_id=f"s{number}") == {}

        def handle(*_: object) -> None:
            put_one()
            # Only now, or a slow machine would be buried under alarms that come faster than they are dealt with.
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            for number in range(self.many):
                put_one()
                taken = self.take(3)
                if number % 3:
                    came += ids(self.queue.done(A, taken))
                else:
                    self.queue.retry(A, taken, 0.0)
                self.queue.ready(A, self.now)
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # first, for it sets the timer anew
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.settle(self.queue)
        while taken := self.take():
            came += ids(self.queue.done(A, taken))
        assert len(put) > self.many
        assert sorted(came) == sorted(put)

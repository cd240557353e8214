"""What must survive the end of a process, as tests; a queue that does not promise that begins empty."""

from itertools import count

from .queue_desk import LEASE, RECORD, A, B, QueueDesk, lines


class QueueSurvival(QueueDesk):
    """The part of :class:`QueueConformance` in which processes die."""

    def test_what_waits_survives_the_process_in_order(self) -> None:
        self.fill(1, 2, 1, names=(A, B))
        put_at = self.now
        self.again()
        entries = self.take()
        if not self.survives:
            assert entries == []
            return
        assert lines(entries) == {1: ["m1", "m3"], 2: ["m2"]}
        assert {entry.record for entry in entries} == {RECORD}
        assert max(entry.accepted_at for entry in entries) == put_at
        assert lines(self.take(name=B)) == {1: ["m1", "m3"], 2: ["m2"]}
        assert self.told == {A: 3, B: 3}

    def test_numbers_of_messages_that_survived_are_those_of_nobody_else(self) -> None:
        self.fill(1, 2)
        self.again()
        self._numbers = count(1)
        self.put(3, message_id="new")
        self.settle(self.queue)
        entries = self.take()
        assert len({entry.seq for entry in entries}) == len(entries) == (3 if self.survives else 1)

    def test_older_messages_of_a_user_go_before_newer_ones_also_after_a_restart(self) -> None:
        self.fill(1, 1)
        self.again()
        self.fill(1)
        assert self.ids() == (["m1", "m2", "m3"] if self.survives else ["m3"])

    def test_what_was_out_counts_as_tried_and_abandoned(self) -> None:
        self.fill(1, 2)
        self.take(1)
        self.again()
        counts = sorted((entry.message_id, entry.attempts, entry.abandoned) for entry in self.take())
        assert counts == ([("m1", 2, 1), ("m2", 1, 0)] if self.survives else [])

    def test_what_is_done_stays_done(self) -> None:
        self.fill(1, 2, 3, names=(A, B))
        self.queue.done(A, [entry for entry in self.take() if entry.lane != 2])
        self.again()
        assert self.ids() == (["m2"] if self.survives else [])
        assert len(self.take(name=B)) == (3 if self.survives else 0)

    def test_attempts_and_waits_survive(self) -> None:
        self.fill(1)
        self.queue.retry(A, self.take(), self.now + 20.0)
        self.again()
        assert self.ids(later=19.0) == []
        assert [entry.attempts for entry in self.take(later=20.5)] == ([2] if self.survives else [])

    def test_what_was_released_was_not_tried_after_a_restart_either(self) -> None:
        self.fill(1)
        self.queue.release(A, self.take())
        self.again()
        assert [(e.attempts, e.abandoned) for e in self.take()] == ([(1, 0)] if self.survives else [])

    def test_dead_letters_survive(self) -> None:
        self.fill(1, 2)
        for entry in self.take():
            assert self.queue.bury(A, entry, "rejected", "no", self.now)
        first, *_ = self.queue.dead_letters()
        self.queue.discard_dead(first)
        self.again()
        assert len(self.queue.dead_letters()) == (1 if self.survives else 0)
        assert self.ids() == []

    def test_deaths_are_counted(self) -> None:
        self.fill(1)
        for _ in range(4):
            self.take(later=LEASE)
            self.again()
        assert [entry.abandoned for entry in self.take()] == ([4] if self.survives else [])

    def test_whoever_lives_through_an_attempt_clears_a_suspect_for_good(self) -> None:
        self.fill(1)
        self.take()
        self.again()
        self.queue.retry(A, self.take(), self.now)
        self.again()
        assert [(entry.attempts, entry.abandoned) for entry in self.take()] == ([(3, 0)] if self.survives else [])

    def test_whoever_closes_in_order_abandons_nothing(self) -> None:
        self.fill(1, 2)
        self.take(1)
        self.queue.close()
        self._queues.remove(self.queue)
        self.queue = self.open()
        found = sorted((entry.message_id, entry.abandoned) for entry in self.take(later=LEASE + 1.0))
        assert found == ([("m1", 0), ("m2", 0)] if self.survives else [])

    def test_nothing_is_left_behind_twice(self) -> None:
        self.fill(1, 2)
        self.again()
        self.queue.done(A, self.take())
        self.again()
        assert self.ids() == []

    def test_a_record_that_is_junk_comes_through_as_it_is(self) -> None:
        self.put(record=b"\x80\x04junk.")
        self.fill(1)
        self.again()
        assert [entry.record for entry in self.take()] == ([b"\x80\x04junk.", RECORD] if self.survives else [])

"""What becomes of messages whose taker says nothing any more, as tests."""

import pytest

from .queue_desk import FAR, LEASE, A, QueueDesk, ids


class QueueLeases(QueueDesk):
    """The part of :class:`QueueConformance` in which leases end."""

    def test_what_nobody_settles_in_time_is_handed_out_again(self) -> None:
        self.fill(1, 1)
        self.take()
        assert self.ids(later=LEASE - 1.0) == []
        again = self.take(later=LEASE + 1.0)
        assert ids(again) == ["m1", "m2"]
        assert [(entry.attempts, entry.abandoned) for entry in again] == [(2, 1), (2, 1)]

    @pytest.mark.parametrize("call", ["done", "retry", "release", "bury"])
    def test_whoever_comes_too_late_changes_nothing(self, call: str) -> None:
        self.fill(1)
        late = self.take()
        [entry] = self.take(later=LEASE + 1.0)
        match call:
            case "done":
                assert list(self.queue.done(A, late)) == []
            case "retry":
                assert list(self.queue.retry(A, late, self.now + FAR)) == []
            case "release":
                self.queue.release(A, late)
            case _:
                assert not self.queue.bury(A, late[0], "rejected", "", self.now)
        assert list(self.queue.dead_letters()) == []
        assert self.ids(later=LEASE + 2.0) == [], "it is still out"
        assert ids(self.queue.done(A, [entry])) == ["m1"]

    def test_a_lease_that_is_renewed_goes_on(self) -> None:
        self.fill(1)
        [entry] = self.take()
        assert self.queue.renew(A, entry.lease, self.now + LEASE - 1.0)
        assert self.ids(later=LEASE + 1.0) == []
        assert self.ids(later=2 * LEASE) == ["m1"]
        assert not self.queue.renew(A, entry.lease, self.now + 2 * LEASE)

    def test_only_what_is_left_of_a_lease_comes_again(self) -> None:
        self.fill(1, 1, 2)
        first, *_ = self.take()
        self.queue.done(A, [first])
        assert sorted(self.ids(later=LEASE + 1.0)) == ["m2", "m3"]

    def test_whoever_lives_through_an_attempt_clears_a_suspect(self) -> None:
        self.fill(1)
        self.take()
        [suspect] = self.take(later=LEASE + 1.0)
        self.queue.retry(A, [suspect], self.now + LEASE + 2.0)
        [again] = self.take(later=LEASE + 3.0)
        assert (suspect.abandoned, again.abandoned, again.attempts) == (1, 0, 3)

    def test_what_made_its_takers_vanish_twice_goes_out_alone(self) -> None:
        self.fill(1, 2)
        later = 0.0
        for _ in range(2):
            assert len(self.take(later=later)) == 2
            later += LEASE + 1.0
        [alone] = self.take(later=later)
        assert alone.abandoned == 2
        assert self.take(later=later) == [], "while a suspect is out, nothing else is"
        assert self.queue.ready(A, self.now + later).count == 0
        self.queue.done(A, [alone])
        assert len(self.take(later=later)) == 1

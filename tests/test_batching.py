"""Which parts may share a request."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unitrack.batching import batches
from unitrack.wire import Capabilities, Part

parts = st.lists(
    st.builds(
        Part,
        path=st.sampled_from(["/a", "/a", "/a", "/b"]),
        body=st.integers(0, 30).map(lambda size: b"x" * size),
        alone=st.sampled_from([False] * 9 + [True]),
    ),
    max_size=60,
)
capabilities = st.builds(
    Capabilities,
    max_batch=st.integers(1, 20),
    max_batch_bytes=st.none() | st.integers(1, 120),
    envelope_bytes=st.integers(0, 40),
)
limits = st.none() | st.integers(1, 30)


def size(batch: list[Part], can: Capabilities) -> int:
    return can.envelope_bytes + sum(len(part.body) for part in batch) + len(batch) - 1


@given(parts, capabilities, limits)
def test_every_part_is_sent_once_and_in_order(parts: list[Part], can: Capabilities, limit: int | None) -> None:
    cut = batches(parts, can, limit=limit)
    assert [id(part) for batch in cut for part in batch] == [id(part) for part in parts]
    assert all(cut)


@given(parts, capabilities, limits)
def test_no_request_is_above_a_limit(parts: list[Part], can: Capabilities, limit: int | None) -> None:
    for batch in batches(parts, can, limit=limit):
        assert len(batch) <= min(can.max_batch, limit or can.max_batch)
        assert len({part.path for part in batch}) == 1
        if len(batch) > 1:
            assert not any(part.alone for part in batch)
            assert can.max_batch_bytes is None or size(batch, can) <= can.max_batch_bytes


@given(parts, capabilities, limits)
def test_no_request_could_have_taken_the_next_part_too(parts: list[Part], can: Capabilities, limit: int | None) -> None:
    cut = batches(parts, can, limit=limit)
    for batch, following in pairwise(cut):
        together = [*batch, following[0]]
        assert (
            len(together) > min(can.max_batch, limit or can.max_batch)
            or len({part.path for part in together}) > 1
            or any(part.alone for part in together)
            or (can.max_batch_bytes is not None and size(together, can) > can.max_batch_bytes)
        )


def test_a_request_may_be_exactly_as_large_as_the_vendor_allows() -> None:
    parts = [Part(path="/a", body=b"12345")] * 3
    exact = 2 + 3 * 5 + 2
    assert [len(batch) for batch in batches(parts, Capabilities(max_batch=9, max_batch_bytes=exact))] == [3]
    assert [len(batch) for batch in batches(parts, Capabilities(max_batch=9, max_batch_bytes=exact - 1))] == [2, 1]


def test_a_part_that_fits_nowhere_travels_alone() -> None:
    small, large = Part(path="/a", body=b"1"), Part(path="/a", body=b"x" * 99)
    cut = batches([small, large, small], Capabilities(max_batch=9, max_batch_bytes=50))
    assert cut == [[small], [large], [small]]


def test_nothing_makes_no_request() -> None:
    assert batches([], Capabilities()) == []

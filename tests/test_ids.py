"""The set of ids of what waits."""

from hypothesis import given
from hypothesis import strategies as st

from unitrack.ids import PART, PARTS, Ids


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=2))))
def test_it_knows_what_was_added_and_not_discarded(steps: list[tuple[bool, str]]) -> None:
    ids, known = Ids(), set[str]()
    for adds, one in steps:
        ids.add(one) if adds else ids.discard(one)
        known.add(one) if adds else known.discard(one)
        assert (one in ids) == (one in known)
    assert {one for part in ids.parts for one in part} == known
    assert {one for part in Ids(known).parts for one in part} == known
    assert len(ids) == len(known)


def test_many_ids_are_spread_over_all_parts() -> None:
    ids = Ids(f"id-{number}" for number in range(16_000))
    assert len(ids.parts) == PARTS == PART + 1
    assert all(700 < len(part) < 1_300 for part in ids.parts)

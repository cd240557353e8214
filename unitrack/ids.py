"""The ids of what waits, by which a repeat is known."""

from collections.abc import Iterable

#: A table that is full is copied as a whole, and whoever adds to it waits for that: 3.5 ms at 87,381 ids. Parts of it
#: are copied in a sixteenth of that time. A power of two.
PARTS = 16
#: Of a hash: the part in which its id stands.
PART = PARTS - 1


class Ids:
    """A set of ids that never grows by much at once.

    ``parts[hash(id) & PART]`` is where an id stands, for whoever cannot afford a call.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.parts: tuple[dict[str, None], ...] = tuple({} for _ in range(PARTS))
        for one in ids:
            self.add(one)

    def __contains__(self, one: str) -> bool:
        return one in self.parts[hash(one) & PART]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def add(self, one: str) -> None:
        self.parts[hash(one) & PART][one] = None

    def discard(self, one: str) -> None:
        self.parts[hash(one) & PART].pop(one, None)

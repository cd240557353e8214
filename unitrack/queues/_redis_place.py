"""Where a message stands in the broker, and what is written down there of the attempts at it."""

from attrs import frozen

from ._redis_envelope import Envelope


@frozen
class Place:
    """An entry of a stream, and who put it."""

    partition: int
    id: str
    origin: str
    seq: int  #: there


@frozen
class Arrival:
    """An entry that was fetched and is not here yet."""

    envelope: Envelope
    place: Place
    attempts: int
    abandoned: int
    due: float


def written(attempts: int, abandoned: int, due: float = 0.0, *, out: bool = False) -> str:
    """Write down attempts; nothing where there is nothing to say.

    >>> written(2, 0, 1700000000.5)
    '2 0 1700000000.500 0'
    """
    return f"{attempts} {abandoned} {due:.3f} {int(out)}" if attempts or abandoned or due else ""


def tried(text: bytes) -> tuple[int, int, float]:
    """Read attempts, how often a taker vanished, and when it is due.

    Whoever had it out and does not hold its partition any more, vanished.

    >>> tried(b"2 0 1700000000.500 1")
    (2, 1, 1700000000.5)
    """
    try:
        attempts, abandoned, due, out = text.split()
        return int(attempts), int(abandoned) + (out == b"1"), float(due)
    except ValueError:
        return 0, 0, 0.0

"""Cut parts into runs that may share a request: one path, one head, not too many, not too large."""

from collections.abc import Sequence

from .wire import Capabilities, Part


def batches(parts: Sequence[Part], capabilities: Capabilities, *, limit: int | None = None) -> list[list[Part]]:
    """Return the parts in order, cut where the next one may not join.

    >>> parts = [Part(path="/a", body=b"1"), Part(path="/a", body=b"2"), Part(path="/b", body=b"3")]
    >>> [len(batch) for batch in batches(parts, Capabilities(max_batch=10))]
    [2, 1]
    """
    return [[parts[place] for place in run] for run in runs(parts, capabilities, limit=limit)]


def runs(
    parts: Sequence[Part],
    capabilities: Capabilities,
    *,
    limit: int | None = None,
    lanes: Sequence[int] | None = None,
) -> list[list[int]]:
    """Return the places of the parts, request by request.

    Args:
        parts: in the order in which they were said.
        capabilities: their provider's limits, in the bytes that are sent.
        limit: messages per request, if fewer than the provider allows.
        lanes: of each part. Parts of one lane arrive in order; others may overtake each other to share a request.
            Default: all are of one lane.

    >>> parts = [Part(path="/a", body=b"1"), Part(path="/b", body=b"2"), Part(path="/a", body=b"3")]
    >>> runs(parts, Capabilities(max_batch=10))
    [[0], [1], [2]]
    >>> runs(parts, Capabilities(max_batch=10), lanes=[7, 8, 9])
    [[0, 2], [1]]
    """
    most = min(limit or capabilities.max_batch, capabilities.max_batch)
    room = capabilities.max_batch_bytes
    found: list[list[int]] = []
    sizes: list[int] = []
    latest: dict[tuple[str, bytes], int] = {}  # the run that is still open for such parts
    reached: dict[int, int] = {}  # the last run that holds something of a lane
    for place, part in enumerate(parts):
        kind, lane = (part.path, part.head), lanes[place] if lanes else 0
        size = len(part.body)
        run = latest.get(kind)
        if (
            run is not None
            and len(found[run]) < most
            and reached.get(lane, run) <= run
            and not part.alone
            and (room is None or sizes[run] + 1 + size <= room)
        ):
            found[run].append(place)
            sizes[run] += 1 + size
        else:
            run = len(found)
            found.append([place])
            sizes.append(capabilities.envelope_bytes + len(part.head) + size)
            if not part.alone:
                latest[kind] = run
        reached[lane] = run
    return found

"""Cut parts into runs that may share a request: one path, not too many, not too large."""

from collections.abc import Sequence

from .wire import Capabilities, Part


def batches(parts: Sequence[Part], capabilities: Capabilities, *, limit: int | None = None) -> list[list[Part]]:
    """Return the parts in order, cut where the next one may not join.

    Args:
        parts: in the order in which they must arrive.
        capabilities: their provider's limits, in the bytes that are sent.
        limit: messages per request, if fewer than the provider allows.

    >>> parts = [Part(path="/a", body=b"1"), Part(path="/a", body=b"2"), Part(path="/b", body=b"3")]
    >>> [len(batch) for batch in batches(parts, Capabilities(max_batch=10))]
    [2, 1]
    """
    most = min(limit or capabilities.max_batch, capabilities.max_batch)
    room = capabilities.max_batch_bytes
    runs: list[list[Part]] = []
    size = 0
    for part in parts:
        run = runs[-1] if runs else None
        grown = size + 1 + len(part.body)
        if (
            run is not None
            and len(run) < most
            and run[0].path == part.path
            and not (part.alone or run[0].alone)
            and (room is None or grown <= room)
        ):
            run.append(part)
            size = grown
        else:
            runs.append([part])
            size = capabilities.envelope_bytes + len(part.body)
    return runs

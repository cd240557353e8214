"""The body of an answer, read up to a limit: what comes from outside must not fill the memory."""

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

#: Bytes of a body that are kept, before and after decoding. Verdicts are shorter; the rest is never asked for.
MAX_BODY = 1024 * 1024
_PIECE = 64 * 1024

#: zlib's window bits for zlib or gzip as the data says, and for deflate without a header, which some servers send.
_AUTOMATIC, _RAW = 47, -15


class Readable(Protocol):
    def read1(self, amt: int, /, *, decode_content: bool) -> bytes:
        """Return what is there, up to ``amt`` bytes; wait only if nothing is; nothing means the end."""


def read_into(body: bytearray, stream: Readable, before: Callable[[], None] = lambda: None) -> bool:
    """Read an answer as it came; return whether it ended within the limit, so that its connection can be used again.

    Args:
        body: gets the bytes, so that they are not lost when reading fails half-way.
        stream: a ``urllib3.HTTPResponse``.
        before: called before each wait.
    """
    while len(body) < MAX_BODY:
        before()
        # read(n) would wait for all n bytes, and of a chunk of size -1 it reads all there is.
        piece = stream.read1(min(_PIECE, MAX_BODY - len(body)), decode_content=False)
        if not piece:
            return True
        body += piece
    del body[MAX_BODY:]
    return False


def decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Unpack a body that was compressed although we asked for it plain, up to the limit.

    HTTP libraries unpack without a bound: half a megabyte can become a gigabyte. What does not unpack stays as it
    is: the status still tells most of what there is to know.
    """
    if headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    for window in (_AUTOMATIC, _RAW):
        try:
            return zlib.decompressobj(window).decompress(body, MAX_BODY)
        except zlib.error:
            continue
    return body

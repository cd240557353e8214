"""RudderStack's data plane on 127.0.0.1: batches at ``/v1/batch``, all or nothing, answered in plain text."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from .answer import Answer
from .reading import Fault, Received, basic_user, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .segment_shapes import entry, shapes, text_or_number
from .shape import Shape, anything, each, instant, text

MAX_BODY_BYTES = 4_194_304


def _context_with_traits(value: Any, where: str) -> None:
    anything(value, where)
    anything(value.get("traits"), f"{where}.traits")


_SHAPES = shapes(identify={"context": _context_with_traits}, more={"channel": text}, other_id=text_or_number)


class RudderStackReceiver(Receiver):
    """Takes what RudderStack documents and its Python SDK 2.1.9 sends.

    It plays one workspace. One bad message refuses its whole batch, as in the gateway; also an empty event name,
    which the gateway lets in and nothing behind it takes.

    Args:
        write_key: of the source that is let in.
        other_keys: of further sources. A message id that one of them has sent is a repeat for all of them.
        clock: seconds since 1970.
    """

    # The first one wins, across the workspace; for how long is not documented.
    drops_repeats = True

    def __init__(
        self, *, write_key: str, other_keys: Sequence[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(write_key, *other_keys, clock=clock)
        self._keys = (write_key, *other_keys)

    def judge(self, request: Received) -> Answer:
        return evolve(super().judge(request), headers={"content-type": "text/plain; charset=utf-8"})

    def take(self, request: Received) -> Answer:
        posted(request, ["/v1/batch"])
        key = basic_user(request)
        if not any(same(key, known) for known in self._keys):
            raise Fault("the write key is missing or not known", 401)
        media_type(request)
        body = unzipped(request, MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", 413)
        envelope = strict_json(body)
        Shape({"batch": each(anything)}, {"sentAt": instant})(envelope, "$")
        batch = envelope["batch"]
        if not batch:
            raise Fault("$.batch must hold at least one message")
        taken = tuple(entry(_SHAPES, message, f"$.batch[{index}]") for index, message in enumerate(batch))
        return Answer(status=200, body=b"OK", call=batch[-1]["type"], taken=taken)

    def refusal(self, fault: Fault) -> bytes:
        return fault.reason.encode()

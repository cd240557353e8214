"""Hightouch on 127.0.0.1: batches of up to 100 messages at ``/v1/batch``, the write key in the body or as Basic."""

import time
from collections.abc import Callable
from typing import Any

from .answer import Answer, encoded
from .reading import Fault, Received, basic_user, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .segment_shapes import entry, shapes
from .shape import Shape, anything, each, instant, text

MAX_BODY_BYTES = 500_000
MAX_MESSAGE_BYTES = 32_768
MAX_MESSAGES = 100

_SHAPES = shapes()


class HightouchReceiver(Receiver):
    """Takes what Hightouch documents and its Python SDK 0.0.4 sends.

    Where the service answers 200 and blocks a bad message in silence, this one says 400 and what is wrong.

    Args:
        write_key: the only key that is let in.
        clock: seconds since 1970.
    """

    # The service tells repeats by messageId; for how long is not documented.
    drops_repeats = True

    def __init__(self, *, write_key: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(write_key, clock=clock)
        self._key = write_key

    def take(self, request: Received) -> Answer:
        posted(request, ["/v1/batch"])
        media_type(request)
        body = unzipped(request, MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", 413)
        envelope = strict_json(body)
        self._authorize(request, envelope)
        Shape({"batch": each(anything)}, {"sentAt": instant, "writeKey": text})(envelope, "$")
        batch = envelope["batch"]
        if not 1 <= len(batch) <= MAX_MESSAGES:
            raise Fault(f"$.batch must hold 1 to {MAX_MESSAGES} messages, not {len(batch)}")
        taken = tuple(
            entry(_SHAPES, message, f"$.batch[{index}]", most=MAX_MESSAGE_BYTES) for index, message in enumerate(batch)
        )
        return Answer(status=200, body=encoded(success=True), call=batch[-1]["type"], taken=taken)

    def refusal(self, fault: Fault) -> bytes:
        return encoded(code="unauthorized" if fault.status == 401 else "invalid_request", message=fault.reason)

    def _authorize(self, request: Received, envelope: Any) -> None:
        key = envelope.get("writeKey") if isinstance(envelope, dict) else None
        if "authorization" in request.headers:
            if key is not None:
                raise Fault("the write key goes into the header or into the body, not both")
            key = basic_user(request)
        if not same(key, self._key):
            raise Fault("the write key is missing or not known", 401)

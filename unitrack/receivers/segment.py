"""Segment on 127.0.0.1: batches at ``/v1/batch``, the key as Basic, in the body or both, one memory of ids for all."""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from .answer import Answer, encoded
from .reading import Fault, Received, basic_user, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .segment_shapes import entry, shapes, text_or_number
from .shape import Shape, anything, each, instant, text

MAX_BODY_BYTES = 500_000
MAX_MESSAGE_BYTES = 32_768
MAX_MESSAGES = 2_500

_SHAPES = shapes(other_id=text_or_number)


class SegmentReceiver(Receiver):
    """Takes what Segment documents and its Python SDK 2.4.0 sends.

    Where the service answers 200 and drops a message in silence, this one says what is wrong: 401 for a wrong key,
    400 for the rest.

    Args:
        write_key: of the source that is let in.
        other_keys: of further sources. A message id that one of them has sent is a repeat for all of them.
        clock: seconds since 1970.
    """

    # About a day, across sources and workspaces.
    drops_repeats = True

    def __init__(
        self, *, write_key: str, other_keys: Sequence[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(write_key, *other_keys, clock=clock)
        self._keys = (write_key, *other_keys)

    def take(self, request: Received) -> Answer:
        posted(request, ["/v1/batch"])
        media_type(request)
        count = request.headers.get("x-retry-count")
        if count is not None and not re.fullmatch("[1-9][0-9]{0,5}", count):
            raise Fault(f"X-Retry-Count must be 1, 2, … and is for repeats only, not {count}")
        body = unzipped(request, MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes")
        envelope = strict_json(body)
        self._authorize(request, envelope)
        Shape({"batch": each(anything)}, {"sentAt": instant, "writeKey": text})(envelope, "$")
        batch = envelope["batch"]
        if not 1 <= len(batch) <= MAX_MESSAGES:
            raise Fault(f"$.batch must hold 1 to {MAX_MESSAGES} messages, not {len(batch)}")
        taken = tuple(
            entry(_SHAPES, message, f"$.batch[{index}]", most=MAX_MESSAGE_BYTES, too_large=400)
            for index, message in enumerate(batch)
        )
        return Answer(status=200, body=encoded(success=True), call=batch[-1]["type"], taken=taken)

    def refusal(self, fault: Fault) -> bytes:
        return encoded(code="unauthorized" if fault.status == 401 else "invalid_request", message=fault.reason)

    def _authorize(self, request: Received, envelope: Any) -> None:
        keys = []
        if "authorization" in request.headers:
            keys.append(basic_user(request))
        if isinstance(envelope, dict) and "writeKey" in envelope:
            keys.append(envelope["writeKey"])
        if not any(keys and all(same(key, known) for key in keys) for known in self._keys):
            raise Fault("the write key is missing or not known, or differs between header and body", 401)

"""Check what a provider or a transport hands back before anything relies on it: both may be anybody's code."""

from .wire import Capabilities, Delivered, Hold, Outcome, Part, Rejected, Request, Response, Retry

#: More than any vendor would name; the limiter remembers so many moments.
MOST_PER_MINUTE = 1_000_000


def sound_part(value: object) -> Part:
    """Return what ``encode`` gave.

    Raises:
        TypeError: it is no part, or its body is not bytes.
    """
    if not isinstance(value, Part):
        raise TypeError(f"gave {type(value).__name__}, not a Part")
    if not isinstance(value.body, bytes):
        raise TypeError(f"gave a Part whose body is {type(value.body).__name__}, not bytes")
    if not isinstance(value.path, str) or not isinstance(value.head, bytes):
        raise TypeError("gave a Part whose path is no text or whose head is no bytes")
    return value


def sound_request(value: object) -> Request:
    """Return what ``request`` gave.

    Raises:
        TypeError: it is no request, or its body is not bytes.
    """
    if not isinstance(value, Request):
        raise TypeError(f"gave {type(value).__name__}, not a Request")
    if not isinstance(value.body, bytes):
        raise TypeError(f"gave a Request whose body is {type(value.body).__name__}, not bytes")
    return value


def sound_response(value: object) -> Response:
    """Return what ``send`` of a transport gave.

    Raises:
        TypeError: it is no response, or not one that could be read.
    """
    if not isinstance(value, Response):
        raise TypeError(f"gave {type(value).__name__}, not a Response")
    if not isinstance(value.status, int) or not isinstance(value.body, bytes):
        raise TypeError("gave a Response whose status is no number or whose body is not bytes")
    return value


def sound_outcome(value: object) -> Outcome:
    """Return one verdict of ``outcomes``.

    Raises:
        TypeError: it is none; nobody could settle a message by it, and it would be sent again for ever.
    """
    match value:
        case Delivered(warnings=tuple(remarks)) if all(isinstance(remark, str) for remark in remarks):
            return value
        case Retry(reason=str(), after=None | int() | float()) | Hold(reason=str()) | Rejected(reason=str()):
            return value
        case _:
            raise TypeError(f"gave {type(value).__name__}, not a verdict such as Delivered()")


def unsound_limit(can: Capabilities) -> str | None:
    """Say what in a provider's capabilities would let nothing out; ``None`` if nothing does."""
    if can.max_batch < 1:
        return "max_batch must be at least 1"
    if can.max_batch_bytes is not None and can.message_bytes < 1:
        return "max_batch_bytes must be more than envelope_bytes"
    if can.rate_per_minute is not None and not 0 < can.rate_per_minute <= MOST_PER_MINUTE:
        return f"rate_per_minute must be more than 0 and at most {MOST_PER_MINUTE:,}; None is no limit"
    return None

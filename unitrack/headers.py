"""Headers: what may go out, and what came in by lower-case name."""

import re
from collections.abc import Iterable, Mapping

from .errors import InvalidMessage

USER_AGENT = "unitrack-python"

_URL = re.compile(r"https?://[!-~]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


def check_sendable(url: str, headers: Mapping[str, str]) -> None:
    """Refuse what would not arrive as it was meant.

    ``http.client`` refuses line breaks but lets NUL through (measured, 3.11 to 3.13), and a line break in an id or
    a secret would start a header of its own.

    Raises:
        InvalidMessage: naming the header, never its value.
    """
    if not _URL.fullmatch(url):
        raise InvalidMessage("request URL", "holds a character that must be percent-encoded, or is not http")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidMessage("request header", "has a name that is none")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidMessage(
                f"request header {name!r}", "holds a line break, a control character or one outside Latin-1"
            )


def with_agent(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the headers with a ``User-Agent``, ours if there is none."""
    if any(name.lower() == "user-agent" for name in headers):
        return dict(headers)
    return {**headers, "User-Agent": USER_AGENT}


def merged(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what came in by lower-case name; repeated headers are one list.

    >>> merged([("Via", "a"), ("Date", "x"), ("via", "b")])
    {'via': 'a, b', 'date': 'x'}
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        low = name.lower()
        found[low] = f"{found[low]}, {value}" if low in found else value
    return found

"""What a strict vendor asks of any request before it looks at the messages: path, credentials, coding, JSON."""

import base64
import binascii
import hmac
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from attrs import frozen


class Fault(Exception):
    """What is wrong with a request, in a sentence, and the status that the vendor answers with."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@frozen(kw_only=True)
class Received:
    """A request as it came off the wire. Header names are lower case; ``now`` is when it came, aware."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    now: datetime


def posted(request: Received, paths: Sequence[str]) -> str:
    """Return the path if it is one that takes messages, and the method is POST."""
    if request.path not in paths:
        raise Fault(f"no such path: {request.path}", 404)
    if request.method != "POST":
        raise Fault(f"{request.method} is not allowed here", 405)
    return request.path


def media_type(request: Received) -> str:
    """Return the media type without its parameters; refuse any but JSON in UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise Fault(f"content type must be application/json, not {kind.strip() or 'absent'}", 415)
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise Fault(f"charset must be utf-8, not {charset}", 415)
    return kind


def basic_user(request: Received) -> str:
    """Return the user of Basic credentials whose password is empty."""
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Fault("the Authorization header must be Basic", 401)
    try:
        user, colon, password = base64.b64decode(code, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Fault("the Basic credentials cannot be read", 401) from error
    if not colon or password:
        raise Fault("the Basic credentials must be the key, a colon and no password", 401)
    return user


def same(given: object, known: str) -> bool:
    """Compare a credential that came with the known one, in a time that does not tell how much of it was right."""
    # surrogatepass: anybody may send a lone surrogate in JSON.
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def unzipped(request: Received, limit: int) -> bytes:
    """Return the body without its gzip coding; never more than one byte beyond ``limit``."""
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return request.body
    if coding != "gzip":
        raise Fault(f"content coding {coding} is not known", 415)
    inflate = zlib.decompressobj(wbits=31)
    try:
        body = inflate.decompress(request.body, limit + 1)
    except zlib.error as error:
        raise Fault("the body is not gzip") from error
    if len(body) <= limit and (not inflate.eof or inflate.unused_data):
        raise Fault("the gzip body is cut off or has something behind it")
    return body


def strict_json(body: bytes) -> Any:
    """Parse JSON as the standard has it: UTF-8, no NaN or infinity, no member twice."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Fault("the body is not UTF-8") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float)
        if "\\ud" in text or "\\uD" in text:
            # Half of a surrogate pair is grammar to JSON and a character to nobody.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Fault("the body has half of a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise Fault("the body is not JSON") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Fault("an object has the same member twice")
    return members


def _no_number(word: str) -> NoReturn:
    raise Fault(f"{word} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Fault(f"{digits} is beyond the range of a number")
    return value

"""What went wrong on the wire, in one sentence: no secret, no query string, no foreign text but an error's name."""

import re
import socket
import ssl
from collections.abc import Iterator, Sequence

from .errors import DestinationFault, TransportError

# How OpenSSL names an answer that is not TLS (1.1 and 3.0 / 3.2 and later), and a peer without a common version.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
_NO_COMMON_VERSION = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE"}
)
#: First bytes of a TLS alert, as http.client shows what should have been a status line.
_TLS_ALERT = "\x15\x03"
#: How urllib3 and requests name errors from before there was a connection to send on.
_UNCONNECTED = frozenset({"NewConnectionError", "ConnectTimeoutError"})


def explain(error: BaseException, *, timeout: str, sent: bool) -> TransportError:
    """Return what to raise for a failed attempt.

    Args:
        error: whatever an HTTP library raised.
        timeout: the sentence for a limit of time that was reached.
        sent: False when it is certain that no byte of the request left.
    """
    found = list(_causes(error))
    for one in found:
        if isinstance(one, TransportError):
            return one
    if fault := _handshake_fault(found):
        return DestinationFault(fault, sent=sent)
    if any(str(getattr(one, "line", "")).startswith(_TLS_ALERT) for one in found):
        return DestinationFault("the server wants TLS here; write https:// in base_url", sent=sent)
    return TransportError(_sentence(found, timeout), sent=sent)


def unreachable(error: OSError, where: str, *, timeout: str, sent: bool) -> TransportError:
    """Return what to raise when no connection came about; ``where`` is the host with its port."""
    match error:
        case socket.gaierror():
            return TransportError(f"the name {where.rpartition(':')[0]!r} was not found", sent=sent)
        case ConnectionRefusedError():
            return TransportError(f"connection refused by {where}", sent=sent)
        case TimeoutError():
            return TransportError(timeout, sent=sent)
        case _:
            return TransportError(f"no connection to {where}: {error.strerror or type(error).__name__}", sent=sent)


def never_left(error: BaseException) -> bool:
    """Tell whether an error of urllib3 or requests means that there was no connection to send on."""
    found = list(_causes(error))
    names = {kind.__name__ for one in found for kind in type(one).__mro__}
    return bool(names & _UNCONNECTED or _handshake_fault(found) or _proxy_status(found))


def _handshake_fault(found: Sequence[BaseException]) -> str | None:
    """Say what is wrong with the other side's TLS so that no later attempt can succeed."""
    for one in found:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"certificate: {one.verify_message or 'it does not fit the host'}"
        if isinstance(one, ssl.SSLError) and one.reason in _NOT_TLS:
            return "the server does not speak TLS here; correct the host or port in base_url"
        if isinstance(one, ssl.SSLError) and one.reason in _NO_COMMON_VERSION:
            return "the server does not speak TLS 1.2 or later"
    return None


def _proxy_status(found: Sequence[BaseException]) -> str | None:
    # http.client says this in words only.
    for one in found:
        if isinstance(one, OSError) and (refused := re.search(r"Tunnel connection failed: (\d{3})", str(one))):
            return refused[1]
    return None


def _sentence(found: Sequence[BaseException], timeout: str) -> str:
    names = {type(one).__name__ for one in found}
    if any(isinstance(one, TimeoutError) for one in found):
        return timeout
    if any(isinstance(one, socket.gaierror) for one in found):
        return "the name of the host was not found"
    if any(isinstance(one, ConnectionRefusedError) for one in found):
        return "connection refused"
    if status := _proxy_status(found):
        return f"the proxy refused the connection ({status})"
    if "RemoteDisconnected" in names:
        return "the connection was closed without an answer"
    if any(isinstance(one, ConnectionError) for one in found):
        return "the connection was reset"
    if "IncompleteRead" in names:
        return "the answer was cut off"
    if "ClosedPoolError" in names:
        return "the transport was closed"
    inner = found[-1]
    if isinstance(inner, ssl.SSLError):
        return f"TLS failed ({inner.reason or 'the connection was closed'})"
    if isinstance(inner, OSError) and inner.strerror:
        return f"network error: {inner.strerror}"
    return f"no sound HTTP answer ({type(inner).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what it wraps: urllib3 and requests keep that in any of these places."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (*one.args, getattr(one, "reason", None), getattr(one, "original_error", None), one.__cause__)
        waiting.extend(each for each in inner if isinstance(each, BaseException))

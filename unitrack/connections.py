"""Connections that stay open between requests: urllib3's pools, with our deadline and our strictness inside.

Loaded when something is sent for the first time: urllib3 alone takes longer to import than the rest of the package.
"""

import http.client
import os
import queue
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url

from .body import decoded, read_into
from .clock import utc_now
from .deadline import Attempt, BoundedSocket, BoundedTlsSocket, current_attempt
from .errors import DestinationFault
from .failure import unreachable
from .headers import merged
from .wire import Request, Response

# Name lookups import this codec at their first use. Here the import happens while no fork can cut it in two.
"localhost".encode("idna")

#: Load balancers drop idle connections after 60 s (AWS) or later, and some without a word.
MAX_IDLE = 55.0
#: Answers of status 1xx before the real one.
MAX_INFORMATIONAL = 20
_SWITCHING_PROTOCOLS = 101
#: Request Timeout, Misdirected Request and Too Early speak of the connection, so the next attempt takes a new one.
_BLAMES_CONNECTION = frozenset({408, 421, 425})

#: Whatever can come out of an exchange that fails.
FAILURES = (OSError, HTTPError, http.client.HTTPException, ValueError)

_NO_RETRIES = urllib3.Retry(total=False, redirect=False)


class Connections:
    """The open connections of one transport in one process."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pid = os.getpid()
        self._given_context = context
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    def exchange(self, request: Request, headers: Mapping[str, str], attempt: Attempt) -> Response:
        """Send a request as it is and read its answer.

        Raises:
            Exception: one of :data:`FAILURES`.
        """
        scheme, netloc = urlsplit(request.url)[:2]
        origin = f"{scheme}://{netloc}"
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools.setdefault(origin, self._open(origin))
        # urllib3 logs the target at DEBUG, and a vendor may want its secret there. So it is told none, and the
        # connection fills it in; it also arrives exactly as the provider wrote (and perhaps signed) it.
        attempt.target = request.url[len(origin) :] or "/"
        raw = pool.urlopen(
            request.method, "/", body=request.body, headers=headers, retries=_NO_RETRIES, redirect=False,
            timeout=attempt.remaining(), preload_content=False, decode_content=False,
        )  # fmt: skip
        return answer_of(raw)

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        for pool in list(self._pools.values()):
            pool.close()

    def _open(self, origin: str) -> urllib3.HTTPConnectionPool:
        manager = self._manager(origin)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager.connection_from_url(origin)

    def _manager(self, origin: str) -> urllib3.PoolManager:
        if not origin.startswith("https:"):
            return urllib3.PoolManager()
        context = self._given_context or trusting_context()
        context.sslsocket_class = BoundedTlsSocket
        proxy = proxy_for(urlsplit(origin).hostname or "")
        if proxy is None:
            return urllib3.PoolManager(ssl_context=context)
        parsed = parse_url(proxy)
        if parsed.scheme not in ("http", "https"):
            raise DestinationFault("the proxy that the environment names must be http:// or https://", sent=False)
        own = make_headers(proxy_basic_auth=unquote(parsed.auth)) if parsed.auth else None
        return urllib3.ProxyManager(proxy, proxy_headers=own, proxy_ssl_context=context, ssl_context=context)


def answer_of(raw: urllib3.BaseHTTPResponse) -> Response:
    """Read an answer whose status and headers are there; give its connection back, or drop it if anything is odd."""
    headers = merged(raw.headers.items())
    body = bytearray()
    try:
        if not read_into(body, raw):
            raw.close()
    except FAILURES:
        raw.close()
        # A failure is told by its status. But whether a success is one may stand in the part that is missing.
        if 200 <= raw.status < 300:
            raise
    return Response(status=raw.status, headers=headers, body=decoded(bytes(body), headers), received_at=utc_now())


def trusting_context() -> ssl.SSLContext:
    """Make the TLS settings of every connection: the system's authorities, else certifi's; TLS 1.2 or later.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name others, as for any program that uses OpenSSL.
    Nothing in the environment turns the check off.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    folder = ssl.get_default_verify_paths().capath
    # A folder's certificates are read when they are needed, so they are not counted before.
    if not context.get_ca_certs() and not (folder and any(Path(folder).iterdir())):
        context.load_verify_locations(certifi.where())
    return context


def proxy_for(host: str) -> str | None:
    """Return the proxy that the environment wants for https to a host (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``).

    Plain http goes to this machine or was asked for by name, and then the headers would be open to the proxy.
    """
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


class _Answer(http.client.HTTPResponse):
    """Skips what precedes an answer, and marks an answer as the last of its connection if its end is in doubt."""

    def begin(self) -> None:
        super().begin()
        lengths = self.headers.get_all("content-length") or ()
        if len({part.strip() for length in lengths for part in length.split(",")}) > 1:
            raise http.client.HTTPException("more than one length")
        if self.chunked:
            del self.headers["content-length"]  # as the standard says; else urllib3 logs a warning
        if self.status in _BLAMES_CONNECTION:
            self.will_close = True
        odd = self.headers.defects or self.headers.get_payload()
        if odd or len(lengths) > 1 or (lengths and self.chunked) or self.status == _SWITCHING_PROTOCOLS:
            # What follows might be taken for the answer to the next request.
            self.will_close = True
            # Else urllib3 logs a warning with a traceback.
            self.headers.defects.clear()
            self.headers.set_payload("")

    def _read_status(self) -> tuple[str, int, str]:
        # http.client skips 100 without counting, and takes 103 for the answer.
        for _ in range(MAX_INFORMATIONAL + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if not 100 <= status < 200 or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {MAX_INFORMATIONAL} informational answers")


class _Connection(HTTPConnection):
    response_class = _Answer
    _used_at = 0.0
    #: What is held back of a request until all of it is there.
    _held: list[bytes] | None = None

    def connect(self) -> None:
        attempt = _attempt()
        attempt.dial()
        super().connect()
        attempt.connected()

    def _new_conn(self) -> socket.socket:
        # As urllib3 does it, but a dead address leaves time for the next one, and all of them keep the deadline.
        attempt = _attempt()
        where = f"{'proxy ' if self.proxy else ''}{self._dns_host}:{self.port}"
        try:
            found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
            attempt.resolved()
            return self._first_that_answers(found, attempt)
        except UnicodeError:
            raise unreachable(socket.gaierror(), where, timeout="", sent=attempt.sent) from None
        except OSError as error:
            raise unreachable(error, where, timeout=attempt.describe_timeout(), sent=attempt.sent) from error

    def _first_that_answers(self, found: list[Any], attempt: Attempt) -> socket.socket:
        failure: OSError = socket.gaierror()
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            fresh = BoundedSocket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    fresh.setsockopt(*option)
                fresh.settimeout(attempt.remaining() / left)
                fresh.connect(address)
                return fresh
            except OSError as error:
                fresh.close()
                failure = error
        raise failure

    @property
    def is_connected(self) -> bool:
        # Asked by the pool before it hands out an idle connection.
        if _attempt().must_be_fresh or time.monotonic() - self._used_at > MAX_IDLE:
            return False
        # Bytes that nobody asked for would be read as the next answer; TLS may hold some where no select sees them.
        pending = getattr(self.sock, "pending", None)
        return super().is_connected and not (pending and pending())

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        attempt = _attempt()
        attempt.begin(connected=self.sock is not None)
        super().putrequest(method, attempt.target, skip_host, skip_accept_encoding)

    def request(self, *args: Any, **more: Any) -> None:
        # In one piece: urllib3 sends the head and the body apart, and each costs a call of the system, a packet and,
        # with TLS, a record.
        held: list[bytes] = []
        self._held = held
        try:
            super().request(*args, **more)
        finally:
            self._held = None
        self.send(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        answer = super().getresponse()
        self._used_at = time.monotonic()
        return answer


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Idle:
    """What a pool needs of a queue, without a lock: one that is held while the process forks is never let go."""

    def __init__(self, maxsize: int = 0) -> None:
        self._connections: list[Any] = []

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        # A pool starts with places in the form of None; here there is always a place.
        if item is not None:
            self._connections.append(item)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle  # type: ignore[assignment]  # LifoQueue is asked for, get and put are used


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
    QueueCls = _Idle  # type: ignore[assignment]


def _attempt() -> Attempt:
    attempt = current_attempt()
    if attempt is None:
        raise RuntimeError("these connections work for an Attempt only; send through a transport")
    return attempt

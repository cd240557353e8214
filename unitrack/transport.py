"""The way out: a request in, a response out, within one deadline. The only place that touches the network."""

import sys
import time
from inspect import signature
from os import getpid
from ssl import CERT_REQUIRED, SSLContext, TLSVersion
from typing import Any, Protocol, runtime_checkable

from .body import decoded, read_into
from .clock import utc_now
from .deadline import Attempt
from .errors import ConfigError, DestinationFault, TransportError
from .failure import explain, never_left
from .headers import check_sendable, merged, with_agent
from .late import load
from .secret import discreet
from .wire import Request, Response

CONNECT_TIMEOUT = 5.0


@runtime_checkable
class Transport(Protocol):
    """What a destination needs to reach its vendor; several threads may send at once."""

    def send(self, request: Request, timeout: float, connect_timeout: float = CONNECT_TIMEOUT) -> Response:
        """Send exactly these bytes, once, and return whatever answer comes; a redirect is an answer too.

        Args:
            request: complete, with its credentials.
            timeout: seconds for everything, from the name lookup to the last byte of the answer.
            connect_timeout: seconds for the connection alone.

        Raises:
            TransportError: no answer came; ``sent`` is False when it is certain that no byte of the request left.
            DestinationFault: no answer came, and the address or its certificate must be corrected first.
            InvalidMessage: the URL or a header cannot be sent; nothing was.
        """

    def close(self) -> None:
        """Let go of what is open. Sending again is allowed and opens anew."""


class Urllib3Transport:
    """Sends with urllib3 and keeps connections open; the default.

    TLS is always verified, redirects are not followed, there are no cookies, netrc is not read, and nothing is
    repeated, with one exception: a request that fails on an idle connection before any byte of an answer came goes
    out once more on a fresh one. Proxies of the environment are used for https (``HTTPS_PROXY``, ``NO_PROXY``).

    A name lookup that hangs cannot be interrupted; it counts against the deadline when it returns.

    Args:
        ssl_context: your own TLS settings, for a private authority or a client certificate. It must verify.

    Raises:
        ConfigError: the context does not verify, or allows TLS before 1.2.
    """

    def __init__(self, *, ssl_context: SSLContext | None = None) -> None:
        if ssl_context is not None:
            _check_context(ssl_context)
        self._context = ssl_context
        self._connections: Any = None
        self._late: Any = None

    @discreet
    def send(self, request: Request, timeout: float, connect_timeout: float = CONNECT_TIMEOUT) -> Response:
        """Send a request; see :meth:`Transport.send`."""
        check_sendable(request.url, request.headers)
        headers = with_agent(request.headers)
        # Late: urllib3 takes longer to import than the rest of this package, and many programs never send.
        late: Any = self._late or load("unitrack.connections")
        self._late = late
        connections = self._connections
        if connections is None or connections.pid != getpid():
            # A forked child must not write into its parent's connections, so it forgets them; they close without a
            # word to the server. No lock: of two threads that come here at once, one opens in vain.
            connections = self._connections = late.Connections(self._context)
        with Attempt(timeout, connect_timeout) as attempt:
            while True:
                try:
                    response: Response = connections.exchange(request, headers, attempt)
                    return response
                except late.FAILURES as error:
                    # A server may close an idle connection just when we write to it. The ids in the request are the
                    # same every time, so the one repeat is safe even if it had been read after all.
                    if not attempt.is_stale:
                        raise explain(error, timeout=attempt.describe_timeout(), sent=attempt.sent) from error
                attempt.must_be_fresh = True

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        connections, self._connections = self._connections, None
        if connections is not None and connections.pid == getpid():
            connections.close()


class RequestsTransport:
    """Sends with a ``requests.Session`` of the user's, with its proxies, certificates, adapters and default headers.

    The request goes out as the provider made it. So what a session would add or replace stays out: its ``auth`` and
    netrc (they would replace our credentials), its ``params`` and its cookies; a ``Cookie`` in ``session.headers``
    is a header like any other. Cookies of answers do not enter its jar. Its hooks for responses run, without a body
    to read, and cannot turn an answer into an error.

    The deadline holds for each read, and for the body as a whole. A server that drips its *headers*, or sends what
    comes after a body without end, can outlive it: requests lets nobody in there. :class:`Urllib3Transport` has no
    such gap. At DEBUG the session's urllib3 logs the path and query of each request, so that of a webhook, too.

    Args:
        session: stays the user's, so it is not closed. Its ``verify`` must not be False.

    Raises:
        ConfigError: the session does not verify certificates.
    """

    def __init__(self, session: Any) -> None:
        if session.verify is False:
            raise ConfigError(
                "the session has verify=False; put the path of your authority's certificates into session.verify"
            )
        self._session = session

    @discreet
    def send(self, request: Request, timeout: float, connect_timeout: float = CONNECT_TIMEOUT) -> Response:
        """Send a request; see :meth:`Transport.send`."""
        check_sendable(request.url, request.headers)
        ends = time.monotonic() + timeout
        session = self._session
        prepared = self._prepared(request)
        taken: list[tuple[int, dict[str, str], Any]] = []

        def take(response: Any, **_: Any) -> None:
            taken.append((response.status_code, merged(response.headers.items()), response.raw))
            # Else requests would read the whole body of a redirect, unpack it without a bound, and keep its cookies.
            response.raw = None
            response.headers.pop("location", None)

        # First, so that a hook that raises for a status comes too late to hide the answer.
        prepared.hooks = {"response": [take, *session.hooks.get("response", ())]}
        settings = session.merge_environment_settings(request.url, {}, stream=True, verify=None, cert=None)
        if session.verify is not True:
            # Otherwise REQUESTS_CA_BUNDLE of the environment would win over the path that the session names.
            settings["verify"] = session.verify
        if not settings["verify"]:
            raise DestinationFault("the session has verify=False by now; put its certificates back", sent=False)
        limits = (min(connect_timeout, timeout), timeout)
        try:
            response = session.send(prepared, allow_redirects=False, timeout=limits, **settings)
        except Exception as error:  # noqa: BLE001  adapters and hooks are anybody's code
            if not taken:
                # "from None": the text of the original names the address, and that of a webhook is a secret.
                raise self._explained(error, request.url, timeout, connect_timeout) from None
        else:
            if not taken:
                take(response)  # a session that leaves out the hooks
        return self._read(*taken[0], ends, timeout)

    def close(self) -> None:
        """Do nothing; the session is the user's."""

    def _prepared(self, request: Request) -> Any:
        # Late: whoever has a session has imported it already, and nobody else needs it.
        import requests

        # By hand: Session.prepare_request would put netrc's password over our Authorization (measured, 2.34).
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = request.method, request.url, request.body
        prepared.headers = requests.structures.CaseInsensitiveDict(
            {name: value for name, value in self._session.headers.items() if value is not None}
        )
        prepared.headers["Accept-Encoding"] = "identity"
        prepared.headers.update(request.headers)
        prepared.headers["Content-Length"] = str(len(request.body))
        return prepared

    def _explained(self, error: Exception, url: str, timeout: float, connect_timeout: float) -> TransportError:
        unconnected = never_left(error)
        late = f"no connection within {connect_timeout:g} s" if unconnected else f"no answer within {timeout:g} s"
        # An adapter that repeats by itself may have sent it before.
        repeats = getattr(getattr(self._session.get_adapter(url), "max_retries", None), "total", 0)
        return explain(error, timeout=late, sent=bool(repeats) or not unconnected)

    def _read(self, status: int, headers: dict[str, str], raw: Any, ends: float, timeout: float) -> Response:
        import urllib3  # late, as above

        def before() -> None:
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock = getattr(getattr(raw, "connection", None), "sock", None)
            if sock is not None:
                sock.settimeout(left)

        body = bytearray()
        try:
            if not read_into(body, raw, before):
                raw.close()
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raw.close()
            # As in connections.answer_of.
            if 200 <= status < 300:
                raise explain(error, timeout=f"no answer within {timeout:g} s", sent=True) from error
        return Response(status=status, headers=headers, body=decoded(bytes(body), headers), received_at=utc_now())


class DryRun:
    """Sends nothing: every request is answered with 200 and an empty JSON object, and kept."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    @discreet
    def send(self, request: Request, timeout: float, connect_timeout: float = CONNECT_TIMEOUT) -> Response:
        """Keep a request, once it is known that it could be sent."""
        check_sendable(request.url, request.headers)
        self.requests.append(request)
        return Response(status=200, headers={"content-type": "application/json"}, body=b"{}", received_at=utc_now())

    def close(self) -> None:
        """Do nothing; there is nothing open."""


def as_transport(value: object) -> Transport:
    """Return the transport that a destination was given: none is the default, a ``requests.Session`` is wrapped.

    Raises:
        ConfigError: it is neither.
    """
    if value is None:
        return Urllib3Transport()
    # Only who has imported requests can hand us a session of it.
    requests = sys.modules.get("requests")
    if requests is not None and isinstance(value, requests.Session):
        return RequestsTransport(value)
    if isinstance(value, Transport) and not isinstance(value, type) and _takes_a_request(value):
        return value
    shown = value.__name__ if isinstance(value, type) else type(value).__name__
    raise ConfigError(
        f"transport must be a requests.Session, or have send() and close() as Transport does, not {shown}"
    )


def _takes_a_request(value: Transport) -> bool:
    # Other HTTP clients have methods of these names, with other arguments.
    try:
        signature(value.send).bind(None, 1.0, CONNECT_TIMEOUT)
    except (TypeError, ValueError):
        return False
    return True


def _check_context(context: SSLContext) -> None:
    if context.verify_mode != CERT_REQUIRED or not context.check_hostname:
        raise ConfigError("ssl_context must verify certificates and host names; make it with create_default_context()")
    if context.minimum_version is TLSVersion.MINIMUM_SUPPORTED:
        context.minimum_version = TLSVersion.TLSv1_2  # some systems' Python leaves it to OpenSSL to know the least
    elif context.minimum_version < TLSVersion.TLSv1_2:
        raise ConfigError("ssl_context must not allow TLS before 1.2; set its minimum_version")

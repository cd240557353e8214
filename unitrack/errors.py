"""Every exception that unitrack raises on purpose, in one tree.

::

    UnitrackError
    ├── ConfigError        ValueError           the client cannot be made as asked
    ├── InvalidMessage     ValueError           a call carries something that has no place in JSON (strict mode)
    ├── QueueFull          RuntimeError         no room, and the destination said on_full="raise"
    ├── QueueError         OSError              the disk or the broker of a queue cannot be used right now
    ├── Unsupported        NotImplementedError  one provider cannot carry this message
    └── TransportError     OSError              no answer: refused, reset, too slow, not HTTP
        └── DestinationFault                    the address or its certificate is wrong; waiting will not help

Each is also the fitting builtin, so that ``except ValueError`` works where a caller does not know unitrack.
What a server *answers* is never an exception: see :mod:`unitrack.wire`.
"""

import difflib
from collections.abc import Iterable


class UnitrackError(Exception):
    """Base of every exception in this package."""


class ConfigError(UnitrackError, ValueError):
    """The configuration is wrong; raised when the client is made, never later."""


class InvalidMessage(UnitrackError, ValueError):
    """A message holds a value that cannot be sent anywhere.

    Attributes:
        path: where the value stands, ``$.properties.total``.
        reason: what is wrong with it, without the path.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class QueueFull(UnitrackError, RuntimeError):
    """A destination with ``on_full="raise"`` has no room for another message."""


class QueueError(UnitrackError, OSError):
    """The disk or the broker of a queue cannot be used right now.

    Attributes:
        reason: the word in the ledger: ``disk_full``, ``disk_error``, ``locked``, ``queue_error``.
    """

    def __init__(self, detail: str, reason: str = "queue_error") -> None:
        super().__init__(detail)
        self.reason = reason


class Unsupported(UnitrackError, NotImplementedError):
    """One provider cannot carry this message; the sentence says what to do instead."""


class TransportError(UnitrackError, OSError):
    """No answer came back: the request may or may not have arrived.

    Attributes:
        sent: False when it is certain that no byte of the request left, so that a repeat cannot be a second copy.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class DestinationFault(TransportError):
    """No answer, and trying again soon cannot help: a bad certificate, or an address that is not HTTP over TLS."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word nearest to ``word``, or an empty text.

    >>> nearest("hightuch", ["hightouch", "interakt"])
    " (did you mean 'hightouch'?)"
    >>> nearest("zzz", ["hightouch"])
    ''
    """
    if not isinstance(word, str) or len(word) > 100:
        return ""  # nobody meant one of these, and the comparison could take long
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""A local vendor: it judges each request by the vendor's rules, answers in the vendor's words, and counts."""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from attrs import Factory, frozen

from .answer import Answer, Taken
from .faults import FaultScript, ScriptedFault
from .reading import Fault, Received
from .sample import Sample, sample_of
from .server import Server

#: How long a vendor that drops repeats remembers them.
REMEMBERED_SECONDS = 24 * 3600.0


@frozen(kw_only=True)
class Tally:
    """What one receiver counted; a copy that does not change any more.

    Attributes:
        requests: all of them, scripted faults included; ``bytes`` of their bodies as sent.
        received: messages in requests that were taken, each time they came.
        distinct: those that differ by the vendor's id for them, or by content where there is none.
        answers: requests by the status that went back.
        refused: messages, or requests that could not be read, by what was wrong with them.
    """

    requests: int = 0
    bytes: int = 0
    received: int = 0
    distinct: int = 0
    answers: Mapping[int, int] = Factory(dict)
    refused: Mapping[str, int] = Factory(dict)

    @property
    def repeats(self) -> int:
        """How many messages came again."""
        return self.received - self.distinct


class Receiver(ABC):
    """A vendor played on 127.0.0.1, for tests and demonstrations.

    A context manager; between entering and leaving it listens at :attr:`url`. What it counted stays readable after.
    A subclass says what its vendor takes, in :meth:`take`, without touching a socket or a clock.
    """

    #: Whether the vendor drops a message whose key came within the last day.
    drops_repeats = False

    def __init__(self, *secrets: str, clock: Callable[[], float] = time.time) -> None:
        self._secrets = [secret for secret in secrets if secret]
        self._clock = clock
        self._server = Server(self._handle)
        # The server's thread writes, anybody reads.
        self._lock = threading.Lock()
        self._kept: list[Taken] = []
        self._seen: dict[str, float] = {}
        self._requests = self._bytes = self._received = 0
        self._answers: Counter[int] = Counter()
        self._refused: Counter[str] = Counter()
        self._samples: dict[str, Sample] = {}
        self._script = FaultScript()

    @abstractmethod
    def take(self, request: Received) -> Answer:
        """Give the vendor's answer to a request that it takes, at least in part.

        Raises:
            Fault: the request is refused as a whole.
        """

    @abstractmethod
    def refusal(self, fault: Fault) -> bytes:
        """Say what is wrong in the vendor's form."""

    def judge(self, request: Received) -> Answer:
        """Give the vendor's answer; depends on nothing but the request and the credentials."""
        try:
            return self.take(request)
        except Fault as fault:
            return self._refused_whole(fault)
        except RecursionError:
            return self._refused_whole(Fault("the body is nested too deeply"))

    def _refused_whole(self, fault: Fault) -> Answer:
        return Answer(status=fault.status, body=self.refusal(fault), refused=(fault.reason,))

    def start(self) -> Self:
        """Listen on a free port."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Cut all connections and stop listening."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What a provider's ``base_url`` must be."""
        if not self._server.port:
            raise RuntimeError("this receiver does not listen yet; write: with HightouchReceiver(…) as receiver")
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def taken(self) -> list[Taken]:
        """What the vendor keeps, in the order of arrival, with whom each message is about."""
        with self._lock:
            return list(self._kept)

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        """The same in the vendor's words alone."""
        return [taken.message for taken in self.taken]

    def messages_of(self, user: str) -> list[Mapping[str, Any]]:
        """Return what it keeps about one user, in the order of arrival."""
        return [taken.message for taken in self.taken if taken.user == user]

    @property
    def samples(self) -> dict[str, Sample]:
        """The first request of each kind that was taken, by the vendor's word for the call."""
        with self._lock:
            return dict(self._samples)

    @property
    def tally(self) -> Tally:
        """What was counted so far."""
        with self._lock:
            return Tally(
                requests=self._requests,
                bytes=self._bytes,
                received=self._received,
                distinct=len(self._seen),
                answers=dict(self._answers),
                refused=dict(self._refused),
            )

    def fail_for(self, seconds: float, *, status: int = 503, retry_after: float | None = None) -> None:
        """Answer every request with a fault for so many seconds from now, and take nothing."""
        with self._lock:
            self._script.outage(self._clock() + seconds, ScriptedFault(status, retry_after))

    def answer_next(self, count: int, *, status: int = 429, retry_after: float | None = None) -> None:
        """Answer the next requests with a fault, and take nothing from them."""
        with self._lock:
            self._script.next(count, ScriptedFault(status, retry_after))

    def _handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        clock = self._clock()
        with self._lock:
            fault = self._script.due(clock)
        request = Received(method=method, path=path, headers=headers, body=body, now=datetime.fromtimestamp(clock, UTC))
        answer = self._faulty(fault) if fault else self.judge(request)
        with self._lock:
            self._requests += 1
            self._bytes += len(body)
            self._answers[answer.status] += 1
            self._refused.update(answer.refused)
            self._keep(answer.taken, clock)
            if answer.taken and answer.call not in self._samples:
                self._samples[answer.call] = sample_of(request, self._secrets)
        return answer.status, {"content-type": "application/json", **answer.headers}, answer.body

    def _faulty(self, fault: ScriptedFault) -> Answer:
        headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
        return Answer(status=fault.status, body=self.refusal(Fault("not now", fault.status)), headers=headers)

    def _keep(self, taken: Sequence[Taken], clock: float) -> None:
        for one in taken:
            self._received += 1
            known = self._seen.get(one.key)
            if known is None or not self.drops_repeats or clock - known > REMEMBERED_SECONDS:
                self._kept.append(one)
                self._seen[one.key] = clock

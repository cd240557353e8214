"""One destination's step: take what waits, encode it, cut it into requests, send, and settle every message.

::

    queue.take ─▶ provider.encode ─▶ batches ─▶ provider.request ─▶ transport.send ─▶ provider.outcomes ─▶ settle

Each step ends with every message that it took settled or back in the queue, whatever happens on the way.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from .answers import SPLIT_STATUS
from .batching import batches
from .branch import Branch, secrets_of, without
from .callbacks import Notifier
from .clock import Clock
from .codec import UnreadableRecord, unpack
from .errors import DestinationFault, TransportError, Unsupported
from .gate import Gate
from .limiter import RateLimit
from .logs import QuietLog, emit
from .message import Message
from .paths import cleaner
from .queue import Entry, Queue
from .results import Drop, Verdict
from .retry import wait_for
from .settings import DEADLINE_DURABLE, DEADLINE_IN_MEMORY
from .transport import Transport
from .wire import Delivered, Hold, Outcome, Part, Rejected, Response, Retry, omitted

#: Attempts at a message whose answers the provider's own code cannot read.
MAX_PROVIDER_ERRORS = 3
EXPIRED_AT_ONCE = 1_000

_Sending = tuple[Entry, Part]


@frozen
class _Verdicts:
    """What one request came to."""

    outcomes: list[Outcome]
    #: The batch was refused as a whole, so it must be cut in two to find the message at fault.
    split: bool = False
    #: No byte of it left: the destination is away.
    unreachable: bool = False


class Delivery:
    """Moves messages from the queue to one destination. Several threads may step at once."""

    def __init__(
        self,
        branch: Branch,
        queue: Queue,
        transport: Transport,
        notifier: Notifier,
        log: QuietLog,
        *,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._branch = branch
        self._name = branch.name
        self._provider = branch.provider
        self._settings = branch.settings
        self._book = branch.book
        self._queue = queue
        self._transport = transport
        self._notifier = notifier
        self._log = log
        self._clock = clock
        self._dice = dice
        self._capabilities = branch.provider.capabilities
        self._secrets = secrets_of(branch.provider)
        self._clean = cleaner(branch.destination.drop or (), branch.destination.redact or ())
        self.limit = min(branch.settings.batch_size or self._capabilities.max_batch, self._capabilities.max_batch)
        deadline = branch.settings.delivery_deadline
        if deadline is None and branch.settings.mode == "sync":
            deadline = branch.settings.timeout  # the caller waits, so a quarter of an hour would be a hang
        durable = queue.durability != "none"
        self._deadline = deadline if deadline is not None else DEADLINE_DURABLE if durable else DEADLINE_IN_MEMORY
        self.sweep_every = min(1.0, self._deadline / 4)
        self._swept_at = 0.0
        self._last_problem = ""
        self.gate = Gate(branch.settings.probe_interval, dice)
        self._rate = RateLimit(self._capabilities.rate_per_minute)
        #: Seconds that recent requests took, smoothed; tells whether more senders would help.
        self.latency = 0.0

    def step(self, within: float | None = None) -> float | None:
        """Send one take of messages.

        Args:
            within: seconds that one attempt may take, if fewer than the setting ``timeout``.

        Returns:
            Seconds until another step makes sense: 0.0 at once; ``None`` when something else must happen first.
        """
        self.sweep()
        now = self._clock.steady()
        wait = self.gate.wait(now)
        if wait is None or wait > 0:
            return wait
        entries = self._queue.take(self._name, self.limit, self._capabilities.max_batch_bytes, now)
        if not entries:
            return None
        left = {entry.seq: entry for entry in entries}
        try:
            return self._send_all(self._encode_all(entries, left), left, self._timeout(within))
        finally:
            # Whatever is not settled here goes back as it came: a later step sends it.
            if left:
                self._queue.release(self._name, list(left.values()))

    def sweep(self) -> None:
        """Bury what has waited longer than the delivery deadline, even while nothing may be sent."""
        now = self._clock.steady()
        if now - self._swept_at < self.sweep_every:
            return
        self._swept_at = now
        old = self._queue.take_expired(self._name, now - self._deadline, EXPIRED_AT_ONCE)
        if old:
            last = f"; {self._last_problem}" if self._last_problem else ""
            detail = f"not delivered within {self._deadline:g} s{last}"
            self._bury([(entry, "expired", detail) for entry in old], {entry.seq: entry for entry in old})

    def _timeout(self, within: float | None) -> float:
        return self._settings.timeout if within is None else max(0.001, min(within, self._settings.timeout))

    # -- encode

    def _encode_all(self, entries: Sequence[Entry], left: dict[int, Entry]) -> list[_Sending]:
        ready = []
        for entry in entries:
            try:
                part = self._encode(entry)
            except Unsupported as error:
                self._bury([(entry, "unsupported", str(error))], left)
            except UnreadableRecord as error:
                self._bury([(entry, "unreadable", str(error))], left)
            except Exception as error:  # noqa: BLE001  a provider may be anybody's code; one message pays for it
                self._bury([(entry, "provider_error", f"encode: {error!r}")], left)
            else:
                size, most = len(part.body), self._capabilities.message_bytes
                if size > most:
                    self._bury([(entry, "too_large", f"{size} bytes; {self._name} takes {most} per message")], left)
                else:
                    ready.append((entry, part))
        return ready

    def _encode(self, entry: Entry) -> Part:
        message = unpack(entry.record)
        if self._clean is not None:
            message = self._clean(message)
        if message.options:
            message = evolve(message, options=self._own_options(message))
        part = self._provider.encode(message)
        if entry.attempts == 1 and (names := omitted(self._capabilities, message)):
            self._book.omit(names)
        return part

    def _own_options(self, message: Message) -> Mapping[str, object]:
        own: Mapping[str, object] = message.options.get(self._name) or message.options.get(self._provider.name) or {}
        return own

    # -- send

    def _send_all(self, ready: Sequence[_Sending], left: dict[int, Entry], timeout: float) -> float | None:
        part_of = {id(part): entry for entry, part in ready}
        wait: float | None = 0.0
        for run in batches([part for _, part in ready], self._capabilities, limit=self.limit):
            wait = self._send([(part_of[id(part)], part) for part in run], left, timeout)
            if wait != 0.0:
                return wait
        return 0.0

    def _send(self, run: Sequence[_Sending], left: dict[int, Entry], timeout: float) -> float | None:
        """Send one request; return 0.0 if the next may follow, else how long to wait."""
        now = self._clock.steady()
        if pause := self._rate.wait(now):
            return pause
        if not self.gate.enter(now):
            return self.gate.wait(now)
        try:
            verdicts = self._exchange([part for _, part in run], timeout)
        except BaseException:
            self.gate.leave()
            raise
        if not verdicts.split:
            return self._settle(run, verdicts, left)
        # The batch as a whole was refused: halve it until the bad message stands alone.
        self._passed()
        middle = len(run) // 2
        wait = self._send(run[:middle], left, timeout)
        return wait if wait != 0.0 else self._send(run[middle:], left, timeout)

    def _exchange(self, parts: Sequence[Part], timeout: float) -> _Verdicts:
        try:
            request = self._provider.request(parts, self._clock.utc())
        except Exception as error:  # noqa: BLE001  as above
            return _Verdicts([Rejected(f"provider_error: request: {error!r}")] * len(parts))
        self._book.attempt(len(request.body))
        began = time.perf_counter()
        try:
            response = self._transport.send(request, timeout, min(timeout, self._settings.connect_timeout))
        except DestinationFault as error:
            return _Verdicts([Hold(self._safe(str(error)))] * len(parts))
        except TransportError as error:
            return _Verdicts([Retry(self._safe(str(error)))] * len(parts), unreachable=not error.sent)
        except Exception as error:  # noqa: BLE001  a transport may be anybody's code, too
            return _Verdicts([Retry(self._safe(f"the transport raised {error!r}"))] * len(parts), unreachable=True)
        finally:
            took = time.perf_counter() - began
            self.latency += 0.3 * (took - self.latency)
        if self._settings.debug:
            emit(
                logging.DEBUG, "%s: %s %s, %s messages in %s bytes: %s after %s ms",
                self._name, request.method, request.url.partition("?")[0], len(parts), len(request.body),
                response.status, round(took * 1000),
            )  # fmt: skip
        outcomes = self._judge(response, parts)
        split = len(parts) > 1 and _is_refused_as_a_whole(response, outcomes)
        if split and response.status == 413:
            # Remember it, so that the next batch is not too large again.
            self._capabilities = evolve(self._capabilities, max_batch_bytes=len(request.body) // 2)
        return _Verdicts(outcomes, split=split)

    def _judge(self, response: Response, parts: Sequence[Part]) -> list[Outcome]:
        try:
            outcomes = list(self._provider.outcomes(response, parts))
        except Exception as error:  # noqa: BLE001  as above
            return [Retry(f"provider_error: outcomes: {error!r}", code=response.status)] * len(parts)
        if len(outcomes) != len(parts):
            wrong = f"provider_error: {len(outcomes)} verdicts for {len(parts)} messages"
            return [Retry(wrong, code=response.status)] * len(parts)
        return outcomes

    # -- settle

    def _settle(self, run: Sequence[_Sending], verdicts: _Verdicts, left: dict[int, Entry]) -> float | None:
        now = self._clock.steady()
        delivered: list[tuple[Entry, Delivered]] = []
        rejected: list[tuple[Entry, Rejected]] = []
        again: list[tuple[Entry, Retry]] = []
        kept: list[tuple[Entry, Hold]] = []
        for (entry, _), outcome in zip(run, verdicts.outcomes, strict=True):
            match outcome:
                case Delivered():
                    delivered.append((entry, outcome))
                case Rejected():
                    rejected.append((entry, outcome))
                case Retry():
                    again.append((entry, outcome))
                case Hold():
                    kept.append((entry, outcome))
        if delivered:
            self._deliver(delivered, left)
        if rejected:
            self._reject(rejected, left)
        if kept:
            return self._hold(kept, left, now)
        if len(again) == len(run):
            return self._pause(again, left, now, unreachable=verdicts.unreachable)
        self._passed()
        if again:
            self._retry(again, left, lambda entry, outcome: now + self._wait(entry, outcome))
        return 0.0

    def _passed(self) -> None:
        if self.gate.passed():
            self._book.held = None
            emit(logging.WARNING, "unitrack: %s takes messages again", self._name)

    def _deliver(self, delivered: Sequence[tuple[Entry, Delivered]], left: dict[int, Entry]) -> None:
        entries = [entry for entry, _ in delivered]
        self._queue.done(self._name, entries)
        self._book.deliver(entry.seq for entry in entries)
        for entry, outcome in delivered:
            del left[entry.seq]
            if outcome.warnings:
                self._book.warnings = outcome.warnings
        self._tell(delivered, settled=True)

    def _reject(self, rejected: Sequence[tuple[Entry, Rejected]], left: dict[int, Entry]) -> None:
        safe = [(entry, evolve(outcome, reason=self._safe(outcome.reason))) for entry, outcome in rejected]
        broken = "provider_error"
        self._bury(
            [(e, broken if o.reason.startswith(broken) else "rejected", o.reason) for e, o in safe], left, tell=False
        )
        self._tell(safe, settled=True)

    def _hold(self, kept: Sequence[tuple[Entry, Hold]], left: dict[int, Entry], now: float) -> float | None:
        reason = self._last_problem = self._safe(kept[0][1].reason)
        if self.gate.hold(now, reason):
            self._book.held = reason
            emit(
                logging.WARNING,
                "unitrack: %s is on hold: %s. Its messages are kept; it is tried again from time to time",
                self._name, reason,
            )  # fmt: skip
        entries = [entry for entry, _ in kept]
        for entry in entries:
            del left[entry.seq]
        self._queue.release(self._name, entries)
        self._tell([(entry, evolve(outcome, reason=self._safe(outcome.reason))) for entry, outcome in kept])
        return self.gate.wait(now)

    def _pause(
        self, again: Sequence[tuple[Entry, Retry]], left: dict[int, Entry], now: float, *, unreachable: bool
    ) -> float | None:
        wait = max(self._wait(entry, outcome) for entry, outcome in again)
        at_once = unreachable or any(o.after is not None or o.code == 429 for _, o in again)
        due = self.gate.failed(now, wait, at_once=at_once)
        self._retry(again, left, lambda _entry, _outcome: due)
        return self.gate.wait(now)

    def _retry(
        self,
        again: Sequence[tuple[Entry, Retry]],
        left: dict[int, Entry],
        due: Callable[[Entry, Retry], float],
    ) -> None:
        waiting: list[tuple[Entry, Retry]] = []
        for entry, outcome in again:
            self._last_problem = reason = self._safe(outcome.reason)
            if word := self._given_up(entry, reason):
                self._bury([(entry, word, f"{entry.attempts} attempts; the last: {reason}")], left)
            else:
                del left[entry.seq]
                waiting.append((entry, outcome))
        if waiting:
            self._book.again(len(waiting))
            # One call for all, so that entries of one lane come back in their order.
            latest = max(due(entry, outcome) for entry, outcome in waiting)
            self._queue.retry(self._name, [entry for entry, _ in waiting], latest)
            self._tell(waiting)

    def _given_up(self, entry: Entry, reason: str) -> str | None:
        if reason.startswith("provider_error") and entry.attempts >= MAX_PROVIDER_ERRORS:
            return "provider_error"
        most = self._settings.max_retries
        return "exhausted" if most is not None and entry.attempts > most else None

    def _wait(self, entry: Entry, outcome: Retry) -> float:
        return wait_for(entry.attempts, outcome.after, self._dice, max_after=self._settings.max_retry_after)

    def _bury(self, letters: Sequence[tuple[Entry, str, str]], left: dict[int, Entry], *, tell: bool = True) -> None:
        now = self._clock.steady()
        drops = []
        for entry, reason, detail in letters:
            detail = self._safe(detail)
            self._queue.bury(self._name, entry, reason, detail, now)
            self._book.bury(reason, [entry.seq])
            del left[entry.seq]
            drops.append(Drop(entry.message_id, self._name, reason, detail))
            if tell:
                self._note(entry, Rejected(f"{reason}: {detail}"), settled=True)
        self._log.warning(
            f"dead:{self._name}:{letters[0][1]}", "unitrack: %s: %s is a dead letter (%s: %s)",
            self._name, letters[0][0].message_id, letters[0][1], letters[0][2],
        )  # fmt: skip
        self._notifier.dropped(drops)

    def _tell(self, settled_now: Sequence[tuple[Entry, Outcome]], *, settled: bool = False) -> None:
        for entry, outcome in settled_now:
            self._note(entry, outcome, settled=settled)
        if settled:
            self._notifier.delivered(
                [Verdict(entry.message_id, self._name, outcome, entry.attempts) for entry, outcome in settled_now]
            )

    def _note(self, entry: Entry, outcome: Outcome, *, settled: bool) -> None:
        watched = self._branch.watched
        if not watched:
            return
        collector = watched.pop(entry.seq, None) if settled else watched.get(entry.seq)
        if collector is not None:
            collector.note(entry.seq, self._name, outcome)

    def _safe(self, text: str) -> str:
        return without(self._secrets, text)


def _is_refused_as_a_whole(response: Response, outcomes: Sequence[Outcome]) -> bool:
    """Whether one bad message may have cost the others their place: they were refused without a word on each."""
    if not all(isinstance(outcome, Rejected) for outcome in outcomes):
        return False
    # A 2xx whose body says failure: one verdict for all of them, or one for each?
    return response.status in SPLIT_STATUS or (
        response.status < 300 and all(outcome is outcomes[0] for outcome in outcomes)
    )

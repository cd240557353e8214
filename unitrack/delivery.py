"""One destination's step: take what waits, encode it, cut it into requests, send, and settle every message.

::

    queue.take ─▶ provider.encode ─▶ runs ─▶ provider.request ─▶ transport.send ─▶ provider.outcomes ─▶ settle

Each step ends with every message that it took settled or back in the queue, whatever happens on the way.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from .answers import SPLIT_STATUS
from .batching import runs
from .branch import Branch, credentials_in, secrets_of, unechoed, without
from .callbacks import Notifier
from .clock import Clock
from .codec import UnreadableRecord, unpack, unpack_plain
from .errors import DestinationFault, InvalidMessage, TransportError, Unsupported
from .gate import Gate
from .limiter import RateLimit
from .logs import QuietLog, emit, shown
from .message import KINDS, Message
from .paths import cleaner
from .queue import Entry, Queue
from .retry import wait_for
from .settlement import PROVIDER_ERROR, Settlement, Take
from .sound import sound_outcome, sound_part, sound_request, sound_response
from .transport import Transport
from .wire import Delivered, Hold, Outcome, Part, Rejected, Request, Response, Retry, homeless, plain_encoder, uncarried

#: Times that a sender may vanish with a message before that is given up; from the second on it travels alone.
MAX_ABANDONED = 5
#: Requests in a row from which messages in bad company go again at once.
MOST_SPARED = 5

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
        self._name = branch.name
        self._provider = branch.provider
        self._settings = branch.settings
        self._book = branch.book
        self._queue = queue
        self._transport = transport
        self._clock = clock
        self._dice = dice
        self._capabilities = branch.provider.capabilities
        self._uncarried = {kind: uncarried(self._capabilities, kind) for kind in KINDS}
        self._trusted = queue.durability == "none"
        self._clean = cleaner(branch.destination.drop or (), branch.destination.redact or ())
        # Not where something is taken out of messages first.
        self._encode_plain = None if self._clean else plain_encoder(branch.provider)
        self._secrets = secrets_of(branch.provider)
        self._rate = RateLimit(self._capabilities.rate_per_minute)
        self.limit = min(branch.settings.batch_size or self._capabilities.max_batch, self._capabilities.max_batch)
        self.gate = Gate(branch.settings.probe_interval, dice)
        self._settlement = Settlement(branch, queue, notifier, log, gate=self.gate, clock=clock)
        self.sweep, self.sweep_every = self._settlement.sweep, self._settlement.sweep_every
        self.hear = self._settlement.hear
        #: Seconds that recent requests took, smoothed; tells whether more senders would help.
        self.latency = 0.0
        #: Set by whoever stops: the request that is out is the last one.
        self.stopped = False

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
        take = Take({entry.seq: entry for entry in entries})
        take.until = math.inf if within is None else self._clock.monotonic() + within
        timeout = self._settings.timeout if within is None else max(0.001, min(within, self._settings.timeout))
        try:
            return self._send_all(self._encode_all(entries, take), take, timeout)
        finally:
            if take.left:
                self._queue.release(self._name, list(take.left.values()))

    # -- encode

    def _encode_all(self, entries: Sequence[Entry], take: Take) -> list[_Sending]:
        ready = []
        # Of the provider, not those that a 413 taught us: alone it may still pass.
        most = self._provider.capabilities.message_bytes
        for entry in entries:
            if self._settlement.bury_again(entry, take):
                continue
            if entry.abandoned >= MAX_ABANDONED:
                detail = f"whoever was sending it vanished, {entry.abandoned} times"
                self._settlement.give_up(entry, "poison", detail, take)
                continue
            try:
                part = self._encode(entry)
            except Unsupported as error:
                self._settlement.give_up(entry, "unsupported", str(error), take)
            except UnreadableRecord as error:
                self._settlement.give_up(entry, "unreadable", str(error), take)
            except Exception as error:  # noqa: BLE001  a provider may be anybody's code; one message pays for it
                self._settlement.give_up(entry, PROVIDER_ERROR, f"encode: {shown(error)}", take)
            else:
                size = len(part.body)
                if size > most:
                    detail = f"{size} bytes; {self._name} takes {most} per message"
                    self._settlement.give_up(entry, "too_large", detail, take)
                else:
                    ready.append((entry, part))
        return ready

    def _encode(self, entry: Entry) -> Part:
        if self._encode_plain is not None and entry.attempts == 1:
            track = unpack_plain(entry.record, trusted=self._trusted)
            part = None if track is None else self._encode_plain(track)
            if part is not None:
                return sound_part(part)
        message = unpack(entry.record, trusted=self._trusted)
        if self._clean is not None:
            message = self._clean(message)
        if message.options:
            message = evolve(message, options=self._own_options(message))
        part = sound_part(self._provider.encode(message))
        if entry.attempts > 1:
            return evolve(part, attempt=entry.attempts)
        if names := homeless(self._capabilities, message, self._uncarried[message.kind]):
            self._book.omit(names)
        return part

    def _own_options(self, message: Message) -> Mapping[str, object]:
        own: Mapping[str, object] = message.options.get(self._name) or message.options.get(self._provider.name) or {}
        return own

    # -- send

    def _send_all(self, ready: Sequence[_Sending], take: Take, timeout: float) -> float | None:
        parts, lanes = [part for _, part in ready], [entry.lane for entry, _ in ready]
        for run in runs(parts, self._capabilities, limit=self.limit, lanes=lanes):
            wait = self._send([ready[place] for place in run], take, timeout)
            if wait != 0.0 or self._must_end(take):
                return wait
        return 0.0

    def _must_end(self, take: Take) -> bool:
        """Tell whether what is not sent yet is left to the next step: nobody waits for this one any more."""
        return self.stopped or self._clock.monotonic() >= take.until

    def _send(self, run: Sequence[_Sending], take: Take, timeout: float) -> float | None:
        """Send one request, or more where not all of it could be settled; return 0.0 if the next may follow.

        Else it is how long to wait.
        """
        run, rounds = _unblocked(run, take), 0
        while run:
            now = self._clock.steady()
            if not self._queue.renew(self._name, run[0][0].lease, now):
                return None  # this sender slept for so long that another one has these messages
            if pause := self._rate.wait(now):
                return pause
            if not self.gate.enter(now):
                # Never 0.0: the probe may have been answered this moment, but what comes next must not overtake these.
                return self.gate.wait(now) or None
            if len(run) == 1 and run[0][0].abandoned:
                self._queue.absolve(self._name, run[0][0])
            try:
                verdicts = self._exchange([part for _, part in run], timeout)
                rounds += 1
                wait, left = (
                    (0.0, run) if verdicts.split else self._settle(run, verdicts, take, spare=rounds <= MOST_SPARED)
                )
            except BaseException:
                self.gate.leave()  # else it would wait for this probe's answer for ever
                raise
            if verdicts.split:
                # The batch as a whole was refused: halve it until the bad message stands alone.
                self._settlement.passed()
                middle = len(run) // 2
                wait, left = self._send(run[:middle], take, timeout), _unblocked(run[middle:], take)
            if wait != 0.0 or self._must_end(take):
                return wait
            run = left
        return 0.0

    def _exchange(self, parts: Sequence[Part], timeout: float) -> _Verdicts:
        count = len(parts)
        try:
            request = sound_request(self._provider.request(parts, self._clock.utc()))
        except Exception as error:  # noqa: BLE001  as above
            return _Verdicts([Rejected(f"{PROVIDER_ERROR}: request: {shown(error)}")] * count)
        self._book.attempt(len(request.body))
        began = time.perf_counter()
        try:
            response = sound_response(
                self._transport.send(request, timeout, min(timeout, self._settings.connect_timeout))
            )
        except DestinationFault as error:
            return _Verdicts([Hold(str(error))] * count)
        except InvalidMessage as error:
            return _Verdicts([Rejected(f"invalid: {error}")] * count)
        except TransportError as error:
            return _Verdicts([Retry(str(error))] * count, unreachable=not error.sent)
        except Exception as error:  # noqa: BLE001  a transport may be anybody's code, too
            return _Verdicts([Retry(f"the transport raised {shown(error)}")] * count, unreachable=True)
        finally:
            took = time.perf_counter() - began
            self.latency += 0.3 * (took - self.latency)
        if self._settings.debug:
            self._say(request, response, count, took)
        # The header as it was sent, too: a name and a secret are one word in it, which no provider tells us.
        outcomes = self._judge(unechoed((*credentials_in(request), *self._secrets), response), parts)
        split = count > 1 and _is_refused_as_a_whole(response, outcomes)
        if split and response.status == 413:
            # Remember it, so that the next batch is not too large again; in bytes before gzip, as batches are cut.
            plain = sum(len(part.body) for part in parts)
            self._capabilities = evolve(self._capabilities, max_batch_bytes=max(1, plain // 2))
        return _Verdicts(outcomes, split=split)

    def _judge(self, response: Response, parts: Sequence[Part]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            for outcome in self._provider.outcomes(response, parts):  # mostly one and the same for all
                same = bool(outcomes) and outcome is outcomes[-1]
                outcomes.append(outcome if same else sound_outcome(outcome))
        except Exception as error:  # noqa: BLE001  as above
            return [Retry(f"{PROVIDER_ERROR}: outcomes: {shown(error)}", code=response.status)] * len(parts)
        if len(outcomes) != len(parts):
            wrong = f"{PROVIDER_ERROR}: {len(outcomes)} verdicts for {len(parts)} messages"
            return [Retry(wrong, code=response.status)] * len(parts)
        return outcomes

    def _say(self, request: Request, response: Response, count: int, took: float) -> None:
        url = without(self._secrets, request.url)  # the address of a webhook is a credential itself
        emit(
            logging.DEBUG, "%s: %s %s, %s messages in %s bytes: %s after %s ms",
            self._name, request.method, url.partition("?")[0], count, len(request.body),
            response.status, round(took * 1000),
        )  # fmt: skip

    # -- settle

    def _settle(
        self, run: Sequence[_Sending], verdicts: _Verdicts, take: Take, *, spare: bool
    ) -> tuple[float | None, Sequence[_Sending]]:
        """Settle what a request held; return how long to wait, and what was only in bad company and may go again.

        ``spare``: such may go at once; else they wait as others do, because it has happened again and again.
        """
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
            self._settlement.deliver(delivered, take)
        if rejected:
            self._settlement.reject(rejected, take)
        if kept:
            self._settlement.hold(kept, take, now)
            take.blocked.update(entry.lane for entry, _ in again)
            return self.gate.wait(now), ()
        # One roll for all of them: the longest of a hundred random waits is no random wait any more.
        roll = self._dice()
        if len(again) == len(run) and not any(outcome.own for _, outcome in again):
            wait = max(self._wait(entry, outcome, roll) for entry, outcome in again)
            at_once = verdicts.unreachable or any(o.after is not None or o.code == 429 for _, o in again)
            self._settlement.retry(again, self.gate.failed(now, wait, at_once=at_once), take)
            return self.gate.wait(now), ()
        if delivered or rejected:
            self._settlement.passed()
        else:
            self.gate.leave()  # it says nothing of the destination
        return 0.0, self._put_off(run, verdicts.outcomes, roll, take, now, spare=spare)

    def _put_off(
        self, run: Sequence[_Sending], outcomes: Sequence[Outcome], roll: float, take: Take, now: float, *, spare: bool
    ) -> Sequence[_Sending]:
        """Let those wait that have to, each for itself; return those that may go again at once."""
        if all(isinstance(outcome, Retry) and outcome.after == 0.0 for outcome in outcomes):
            spare = False  # bad company is somebody else
        spared: list[_Sending] = []
        later: dict[float, list[tuple[Entry, Retry]]] = {}
        waiting: set[int] = set()
        for sending, outcome in zip(run, outcomes, strict=True):
            entry = sending[0]
            if not isinstance(outcome, Retry):
                continue
            # Nobody overtakes a message of the same user that has to wait.
            if spare and outcome.own and outcome.after == 0.0 and entry.lane not in waiting:
                spared.append(sending)
            else:
                waiting.add(entry.lane)
                later.setdefault(now + self._wait(entry, outcome, roll), []).append((entry, outcome))
        for due, those in later.items():
            self._settlement.retry(those, due, take)
        return spared

    def _wait(self, entry: Entry, outcome: Retry, roll: float) -> float:
        return wait_for(entry.attempts, outcome.after, lambda: roll, max_after=self._settings.max_retry_after)


def _unblocked(run: Sequence[_Sending], take: Take) -> Sequence[_Sending]:
    """Leave out those whose users have to wait for an earlier message of theirs."""
    return [(entry, part) for entry, part in run if entry.lane not in take.blocked] if take.blocked else run


def _is_refused_as_a_whole(response: Response, outcomes: Sequence[Outcome]) -> bool:
    """Whether one bad message may have cost the others their place: they were refused without a word on each."""
    if not all(isinstance(outcome, Rejected) and not outcome.own for outcome in outcomes):
        return False
    # A 2xx whose body says failure: one verdict for all of them, or one for each?
    return response.status in SPLIT_STATUS or (
        response.status < 300 and all(outcome is outcomes[0] for outcome in outcomes)
    )

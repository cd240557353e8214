"""What the project sets itself: every bar is a figure, or one divided by another of the same round, and a limit for it.

Round by round the same machine was as fast for both, so the median of the ratios holds where the figures themselves
move by a factor of two.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What a round found, by part and driver; ``{"failed": why}`` where it found nothing.
Round = Mapping[str, Mapping[str, Mapping[str, Any]]]

MET, SHORT, FAILED, NOT_MEASURED = "met", "short of the aim", "fails", "not measured in this run"


@dataclass(frozen=True)
class Figure:
    """One figure of one driver; of several drivers, the best."""

    part: str
    drivers: str
    name: str
    #: Several drivers: the largest is the best.
    most: bool = True

    def of(self, found: Round) -> float | None:
        """Return it, if this round has it."""
        rows = [found.get(self.part, {}).get(driver, {}) for driver in self.drivers.split()]
        figures = [float(row[self.name]) for row in rows if self.name in row]
        if not figures:
            return None
        return max(figures) if self.most else min(figures)

    def missing(self, rounds: Sequence[Round]) -> list[str]:
        """Name what no round has of it."""
        if any(self.of(found) is not None for found in rounds):
            return []
        return [f"{driver} in {self.part}" for driver in self.drivers.split()]


@dataclass(frozen=True)
class Bar:
    """One line of the verdict.

    Args:
        goal: its number in the table that the project started from.
        over: divided by ``under``, each times its factor.
        aim: the bar. ``must`` is where a release would stop.
        most: more is better.
        worst: the worst round counts and not the median: for what must never happen.
    """

    goal: str
    title: str
    over: Figure
    under: Figure | None = None
    aim: float = 0.0
    must: float = 0.0
    most: bool = False
    worst: bool = False
    factor: float = 1.0
    unit: str = ""

    def reading(self, rounds: Sequence[Round]) -> "Reading":
        values = [value for found in rounds if (value := self._value(found)) is not None]
        if not values:
            figures = [figure for figure in (self.over, self.under) if figure]
            missing = [name for figure in figures for name in figure.missing(rounds)]
            return Reading(self, (), NOT_MEASURED, tuple(missing))
        reading = Reading(self, tuple(values), "")
        verdict = MET if self._holds(reading.value, self.aim) else SHORT
        if verdict == SHORT and not self._holds(reading.value, self.must):
            verdict = FAILED
        return Reading(self, tuple(values), verdict)

    def _value(self, found: Round) -> float | None:
        over = self.over.of(found)
        if self.under is None or over is None:
            return None if over is None else over * self.factor
        under = self.under.of(found)
        return None if not under else over * self.factor / under

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.most else value <= limit


@dataclass(frozen=True)
class Reading:
    """What became of a bar in one run."""

    bar: Bar
    #: One for each round that has it.
    values: tuple[float, ...]
    verdict: str
    #: What was needed and not found, when nothing was.
    missing: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        if self.bar.worst:
            return min(self.values) if self.bar.most else max(self.values)
        return statistics.median(self.values)


def readings(rounds: Sequence[Round]) -> list[Reading]:
    """Hold every bar against the rounds of a run."""
    return [bar.reading(rounds) for bar in BARS]


_PEERS = "snowplow mixpanel segment segment-4-threads hightouch suprsend rudder posthog amplitude"


def _ours(part: str, name: str, driver: str = "unitrack") -> Figure:
    return Figure(part, driver, name)


BARS: tuple[Bar, ...] = (
    Bar("1", "events/s, instant sink ÷ the floor's", _ours("instant", "events_per_s"),
        Figure("instant", "floor-1-sender", "events_per_s"), aim=0.65, must=0.50, most=True),
    Bar("1", "events/s, instant sink ÷ the best peer's", _ours("instant", "events_per_s"),
        Figure("instant", _PEERS, "events_per_s"), aim=3.0, must=2.0, most=True),
    Bar("2", "processor time per event ÷ the floor's", _ours("instant", "processor_100k"),
        Figure("instant", "floor-1-sender", "processor_100k"), aim=1.5, must=2.0),
    Bar("3", "events/s, 20 ms sink ÷ those of a floor with four senders", _ours("20ms", "events_per_s"),
        Figure("20ms", "floor-4-senders", "events_per_s"), aim=3.0, must=0.9, most=True),
    Bar("3", "events/s, 20 ms sink ÷ segment's", _ours("20ms", "events_per_s"),
        Figure("20ms", "segment", "events_per_s"), aim=4.0, must=4.0, most=True),
    Bar("4", "`track()` in a tight loop, p50 ÷ the floor's", _ours("instant", "p50"),
        Figure("instant", "floor-1-sender", "p50"), aim=1.6, must=2.2),
    Bar("5", "`track()` at 1,000 a second, p50 ÷ the floor's", _ours("paced", "p50"),
        Figure("paced", "floor-1-sender", "p50"), aim=1.5, must=2.0),
    Bar("5", "`track()` at 1,000 a second, p99 ÷ the floor's", _ours("paced", "p99"),
        Figure("paced", "floor-1-sender", "p99"), aim=1.5, must=2.0),
    Bar("6", "worst `track()` while 100,000 wait ÷ segment's", _ours("memory", "worst"),
        Figure("memory", "segment", "worst"), aim=0.01, must=0.02),
    Bar("7", "calls/s of eight callers ÷ the floor's", _ours("callers", "calls_per_s"),
        Figure("callers", "floor-1-sender", "calls_per_s"), aim=0.7, must=0.5, most=True),
    Bar("7", "lost of eight callers", _ours("callers", "lost"), worst=True),
    Bar("8", "memory of a waiting message ÷ its bytes on the wire", _ours("memory", "bytes_per_waiting"),
        _ours("instant", "bytes_per_event"), aim=1.2, must=1.5),
    Bar("9", "processor time, four destinations ÷ one", _ours("fan-4", "processor_100k"),
        _ours("fan-1", "processor_100k"), aim=2.4, must=2.8),
    Bar("10", "`track()`, p50, four destinations ÷ one", _ours("fan-4", "p50"), _ours("fan-1", "p50"),
        aim=1.15, must=1.3),
    Bar("10", "memory of a waiting message, four destinations ÷ one", _ours("memory-fan", "bytes_per_waiting"),
        _ours("memory", "bytes_per_waiting"), aim=1.2, must=1.5),
    *(
        Bar("11", f"events/s of the slowest of three while a fourth is {what} ÷ all healthy",
            _ours(f"fan-{what}", "slowest_per_s"), _ours("fan-20ms", "slowest_per_s"), aim=0.98, must=0.95, most=True)
        for what in ("slow", "failing", "silent")
    ),
    *(
        Bar("12", f"one request per event, 16 senders, {part} sink ÷ 16 times one sender",
            _ours(part, "events_per_s", "unitrack-per-event-16"), _ours(part, "events_per_s", "unitrack-per-event-1"),
            aim=0.95, must=0.90, most=True, factor=1 / 16)
        for part in ("20ms", "100ms")
    ),
    Bar("13", "one request per event, instant sink, events/s ÷ the floor's",
        _ours("instant", "events_per_s", "unitrack-per-event"),
        Figure("instant", "floor-per-event-1", "events_per_s"), aim=0.9, must=0.75, most=True),
    Bar("13", "one request per event, processor time ÷ interakt-track-python's",
        _ours("instant", "processor_100k", "unitrack-per-event"),
        Figure("instant", "interakt", "processor_100k"), aim=0.45, must=0.60),
    Bar("14", "events/s with a queue on disk ÷ in memory", _ours("instant", "events_per_s", "unitrack-sqlite"),
        _ours("instant", "events_per_s"), aim=0.5, must=0.4, most=True),
    Bar("14", "`track()`, p50, with a queue on disk ÷ in memory", _ours("instant", "p50", "unitrack-sqlite"),
        _ours("instant", "p50"), aim=1.3, must=2.0),
    Bar("15", "lost of 5,000 on disk after SIGKILL", _ours("killed", "lost", "unitrack-sqlite"), worst=True),
    Bar("16", "import ÷ all dependencies alone, time", _ours("import", "ms"), _ours("import-declared", "ms"),
        aim=1.1, must=1.25),
    Bar("16", "import ÷ all dependencies alone, memory", _ours("import", "memory"),
        _ours("import-declared", "memory"), aim=1.1, must=1.15),
    Bar("16", "import ÷ those of them that it loads alone, time", _ours("import", "ms"), _ours("import-loaded", "ms"),
        aim=1.1, must=1.25),
    Bar("16", "requests and urllib3 loaded before the first send", _ours("import", "http_clients"), worst=True),
    Bar("17", "lost of 50,000 at once, defaults", _ours("burst", "lost"), worst=True),
    Bar("17", "of those, told by nobody", _ours("burst", "untold"), worst=True),
    Bar("18", "lost of 1,037 when the script ends", _ours("exit", "lost"), worst=True),
    Bar("18", "seconds to leave ÷ posthog's", _ours("exit", "seconds"), Figure("exit", "posthog", "seconds"),
        aim=1.0, must=1.5),
    Bar("19", "missing of 200 after a fork", _ours("fork", "missing"), worst=True),
    Bar("19", "duplicates after a fork", _ours("fork", "duplicates"), worst=True),
    Bar("19", "hanging after a fork", _ours("fork", "hangs"), worst=True),
    Bar("20", "lost in an outage of 5 s", _ours("outage", "lost"), worst=True),
    Bar("20", "duplicates after it; a release may have a batch in flight", _ours("outage", "duplicates"), must=100,
        worst=True),
    Bar("20", "worst `track()` during it ÷ segment's", _ours("outage", "worst"), Figure("outage", "segment", "worst"),
        aim=2.0, must=2.0),
    Bar("21", "events/s with gzip ÷ without", _ours("instant", "events_per_s", "unitrack-gzip"),
        _ours("instant", "events_per_s"), aim=0.88, must=0.80, most=True),
    Bar("+", "delay of a lone event at defaults", _ours("lone", "seconds"), aim=0.25, must=0.5, unit=" s"),
    Bar("+", "requests per event at 1,000 a second", _ours("paced", "requests_per_event"), aim=0.1, must=0.5),
    Bar("+", "events/s of 1,000,000 messages ÷ of 10,000", _ours("1m", "events_per_s"), _ours("10k", "events_per_s"),
        aim=0.9, must=0.75, most=True),
    Bar("+", "events/s of 100,000 users ÷ of one", _ours("100k-users", "events_per_s"),
        _ours("1-user", "events_per_s"), aim=0.9, must=0.75, most=True),
    Bar("+", "processor time per copy, sixteen destinations ÷ four", _ours("fan-16", "processor_100k"),
        _ours("fan-4", "processor_100k"), aim=1.1, must=1.3, factor=4 / 16),
)  # fmt: skip


def needed() -> set[tuple[str, str]]:
    """Return the parts and drivers that the bars speak of."""
    figures = [figure for bar in BARS for figure in (bar.over, bar.under) if figure]
    return {(figure.part, driver) for figure in figures for driver in figure.drivers.split()}

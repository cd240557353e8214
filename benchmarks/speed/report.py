"""The page that a run is told on."""

# ruff: noqa: E501  one sentence a line

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..pins import PEERS
from .bars import BARS, FAILED, MET, NOT_MEASURED, SHORT, Bar, Reading, Round, readings
from .drivers import DRIVERS
from .parts import PARTS

#: What falls short and why, written by hand; goes into the page as it is.
FINDINGS = Path(__file__).parent / "findings.md"

COMMAND = "make bench"
_DEPENDENCIES = ("attrs", "cattrs", "orjson", "requests", "urllib3")

#: Headings of figures, in the order of the columns, and by what they are multiplied.
COLUMNS: dict[str, tuple[str, float]] = {
    "of": ("events", 1),
    "events_per_s": ("events/s", 1),
    "slowest_per_s": ("events/s of the slowest healthy one", 1),
    "speeds": ("events/s of each healthy one", 1),
    "calls_per_s": ("calls/s", 1),
    "processor_100k": ("processor s per 100,000", 1),
    "p50": ("p50 µs", 1),
    "p99": ("p99 µs", 1),
    "worst": ("worst ms", 1e-3),
    "bytes_per_waiting": ("bytes per waiting event", 1),
    "bytes_per_event": ("bytes on the wire per event", 1),
    "events_per_request": ("events per request", 1),
    "requests_per_event": ("requests per event", 1),
    "connections": ("connections", 1),
    "peak_mb": ("peak MB", 1),
    "seconds": ("seconds", 1),
    "longest": ("longest", 1),
    "ms": ("ms", 1),
    "memory": ("MB", 1e-6),
    "modules": ("modules", 1),
    "packages": ("packages of others", 1),
    "parent": ("parent's", 1),
    "child": ("child's", 1),
    "missing": ("missing", 1),
    "hangs": ("hangs", 1),
    "arrived": ("arrived", 1),
    "lost": ("lost", 1),
    "reported": ("told as lost", 1),
    "duplicates": ("duplicates", 1),
    "ended": ("ends by itself", 1),
    "flushed": ("flush returns", 1),
}


def line(reading: Reading) -> str:
    """Say a bar, its figure and its verdict in one line."""
    bar = reading.bar
    if reading.verdict == NOT_MEASURED:
        return f"{bar.goal:>2}  {bar.title}: {NOT_MEASURED}{_missing(reading)}"
    return f"{bar.goal:>2}  {bar.title}: {_figure(reading)} ({_span(reading)}), bar {_limit(bar, bar.aim)}: {reading.verdict}"


def page(run: Mapping[str, Any], *others: Mapping[str, Any]) -> str:
    """Return the page of a run, with the bars of runs on other interpreters beside it."""
    found = readings(run["rounds"])
    lines = [
        "# Performance: every bar with its figure",
        "",
        f"<!-- Written by `{COMMAND}`; every number is from that run. -->",
        "",
        f"{_how(run)}, CPython {run['python']}, {run['when']}: {_summary(found)}.",
        "Each figure is a ratio of two clients in the same round, or a count; the floor is the least that can be done, a client without bounds, retries or books.",
        "",
        "",
        "## Bars",
        "",
        "| goal | measure | figure | rounds | bar | must | verdict |",
        "| --- | --- | --: | --- | --- | --- | --- |",
        *(_row(reading) for reading in found),
        "",
        *_interpreters(run, others),
        "",
        "## How to read it",
        "",
        *_READING,
        "",
    ]  # fmt: skip
    if FINDINGS.exists():
        lines += ["", "## What falls short, and why", "", FINDINGS.read_text(encoding="utf-8").strip(), ""]
    lines += ["", "## Figures", "", "Medians over the rounds; where a client has no row, it was not asked.", ""]
    for name, part in PARTS.items():
        lines += _table(name, part.title, run["rounds"])
    lines += [*_failures(run["rounds"]), "", *_machine(run), "", "", *_AGAIN]
    return "\n".join(lines) + "\n"


_READING = [
    "- *Figure* is the median over the rounds, and *rounds* the smallest and the largest; for what must never happen, such as a loss, it is the worst round.",
    "- *Bar* is what the project aims at, *must* where a release would be stopped. *Goal* is the number in the table that the bars come from; a + was added later.",
    "- A ratio is taken inside a round, minutes apart at most. The same code moves by a factor of two between hours of a shared machine, so ratios between two pages say little, and figures less.",
    "- A wide span of rounds is a busy machine; run it again before believing either end.",
    "- One event is eleven properties, some 300 bytes; *nested* is an order of 2 kB, most of it in another script. Traffic is plain HTTP on 127.0.0.1 unless the table says TLS.",
    "- The time of a tight loop ends when `flush()` has returned *and* the last event is at the sink. Processor time is that of the whole client, all threads. What a call is called with is made before its clock starts.",
    "- *Best peer* is the best of those in the same round; a quick run asks only the three that were ever the best or are the usual comparison.",
    "- `interakt`, `unitrack-per-event` and `floor-per-event` send a request for each event, so they get fewer events.",
    "- Settings are the makers' own, but for room in the queue, and for snowplow, which gets batches of 100 and a session outside of the faults, and mixpanel, whose retries are mounted for http, too.",
]

_AGAIN = [
    "## Once more",
    "",
    "```console",
    "$ make bench",
    "$ make bench QUICK=1",
    "```",
    "",
    "The first takes about an hour and the second less than ten minutes, and both download the packages named above the first time.",
    "`python -m benchmarks.speed.run --help` names the rest: single parts and drivers, another interpreter, the page from figures that were kept.",
]


def _how(run: Mapping[str, Any]) -> str:
    count = len(run["rounds"])
    rounds = f"{count} round{'s' if count != 1 else ''}"
    return f"A quick run of {rounds}, {run['share']:g} of the events" if run["quick"] else f"A full run of {rounds}"


def _summary(found: Sequence[Reading]) -> str:
    verdicts = Counter(reading.verdict for reading in found)
    words = {MET: "met", SHORT: SHORT, FAILED: "failed", NOT_MEASURED: NOT_MEASURED}
    told = [f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts[verdict]]
    return f"of {len(BARS)} bars {', '.join(told)}"


def _row(reading: Reading) -> str:
    bar = reading.bar
    measured = reading.verdict != NOT_MEASURED
    cells = (
        bar.goal, bar.title, _figure(reading) if measured else "–", _span(reading) if measured else "–",
        _limit(bar, bar.aim), _limit(bar, bar.must),
        reading.verdict + _missing(reading) if reading.verdict in (MET, NOT_MEASURED) else f"**{reading.verdict}**",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _interpreters(run: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    if not others:
        return []
    runs = [run, *others]
    columns = list(zip(*(readings(one["rounds"]) for one in runs), strict=True))
    return [
        "",
        "## The same on other interpreters",
        "",
        "Each column is a run of its own; a dash stands where a client that is needed was not asked.",
        "",
        "| goal | measure | " + " | ".join(one["python"] for one in runs) + " |",
        "| --- | --- |" + " --: |" * len(runs),
        *(
            f"| {same[0].bar.goal} | {same[0].bar.title} | "
            + " | ".join(_figure(one) if one.values else "–" for one in same)
            + " |"
            for same in columns
        ),
        "",
    ]


def _table(name: str, title: str, rounds: Sequence[Round]) -> list[str]:
    rows = {driver: _medians(rounds, name, driver) for driver in PARTS[name].drivers}
    rows = {driver: row for driver, row in rows.items() if row}
    columns = [figure for figure in COLUMNS if any(figure in row for row in rows.values())]
    if not rows:
        return []
    return [
        "",
        f"### {title}",
        "",
        "| client | " + " | ".join(COLUMNS[figure][0] for figure in columns) + " |",
        "| --- |" + " --: |" * len(columns),
        *(
            f"| {driver} | " + " | ".join(_cell(row.get(figure), COLUMNS[figure][1]) for figure in columns) + " |"
            for driver, row in rows.items()
        ),
        "",
    ]


def _medians(rounds: Sequence[Round], name: str, driver: str) -> dict[str, Any]:
    found = [row for one in rounds if (row := one.get(name, {}).get(driver)) and "failed" not in row]
    return {figure: _median([row[figure] for row in found if figure in row]) for figure in (found[0] if found else ())}


def _median(values: Sequence[Any]) -> Any:
    if all(isinstance(value, bool) for value in values):
        return "yes" if all(values) else "no" if not any(values) else "sometimes"
    if all(isinstance(value, (int, float)) for value in values):
        return statistics.median(values)
    if all(isinstance(value, list) for value in values):
        return [round(statistics.median(same)) for same in zip(*values, strict=True)]
    return values[0]


def _cell(value: Any, factor: float) -> str:
    match value:
        case None:
            return "–"
        case str():
            return value
        case list():
            return " / ".join(f"{one:,}" for one in value)
    return _number(value * factor)


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _figure(reading: Reading) -> str:
    return _number(reading.value) + reading.bar.unit


def _span(reading: Reading) -> str:
    low, high = _number(min(reading.values)), _number(max(reading.values))
    return low if low == high else f"{low}–{high}"


def _limit(bar: Bar, limit: float) -> str:
    if bar.worst and not limit:
        return "0"
    return f"{'≥' if bar.most else '≤'} {limit:g}{bar.unit}"


def _missing(reading: Reading) -> str:
    few = reading.missing[:2]
    more = f" and {len(reading.missing) - 2} more" if len(reading.missing) > 2 else ""
    return f" (no {', '.join(few)}{more})" if few else ""


def _failures(rounds: Sequence[Round]) -> Iterator[str]:
    failed = {
        f"- {name}, {driver}, round {at}: {' '.join(str(row['failed']).split())[-200:]}": None
        for at, one in enumerate(rounds, 1)
        for name, drivers in one.items()
        for driver, row in drivers.items()
        if "failed" in row
    }
    if failed:
        yield from ["", "### What gave no figure", "", *failed, ""]


def _machine(run: Mapping[str, Any]) -> list[str]:
    machine, packages, ceiling = run["machine"], run["packages"], run["ceiling"]
    yardstick = statistics.median(run["yardstick"])
    ours = [f"{name} {packages['unitrack'][name]}" for name in _DEPENDENCIES if name in packages["unitrack"]]
    peers = sorted(
        {DRIVERS[driver].environment for one in run["rounds"] for drivers in one.values() for driver in drivers}
        - {"unitrack"}
    )
    return [
        "## Where it was measured",
        "",
        "| | |",
        "| --- | --- |",
        f"| processor | {machine['processor']}, {machine['cores']} cores |",
        f"| memory | {machine['memory']} |",
        f"| system | {machine['system']} |",
        f"| Python | CPython {run['python']} for the clients, {run['rig_python']} for the rig |",
        f"| sink | {run['sink']}, {ceiling['single']:,.0f} requests/s of one event on one connection, {ceiling['batch']:,.0f} of a hundred |",
        f"| yardstick: the event to JSON and back, with the standard library | {yardstick:.1f} µs ({min(run['yardstick']):.1f}–{max(run['yardstick']):.1f}) |",
        f"| load of the last minute, after each round | {', '.join(f'{load:.1f}' for load in run['load'])} |",
        f"| unitrack | this working tree, with {', '.join(ours)} |",
        *(f"| {name} | {_pin(name, packages)} |" for name in peers),
    ]


def _pin(name: str, packages: Mapping[str, Mapping[str, str]]) -> str:
    distribution, _, version = PEERS[name].partition("==")
    requests = packages.get(name, {}).get("requests")
    return f"{distribution} {version}" + (f", requests {requests}" if requests else "")

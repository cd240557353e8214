"""The benchmark counts right and judges right; how fast anything is, is not asked here."""

import base64
import gzip
import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.pins import ENVIRONMENTS
from benchmarks.speed import measurements
from benchmarks.speed.bars import BARS, FAILED, MET, NOT_MEASURED, SHORT, Bar, Figure, needed, readings
from benchmarks.speed.ceiling import ceiling
from benchmarks.speed.drivers import DRIVERS
from benchmarks.speed.event import EVENTS
from benchmarks.speed.machine import describe, yardstick
from benchmarks.speed.parts import PARTS
from benchmarks.speed.report import COLUMNS, line, page
from benchmarks.speed.rig import Rig
from benchmarks.speed.run import cells, main, play
from benchmarks.speed.sink_control import Sink

from .pages import ROOT

HERE = dict.fromkeys(ENVIRONMENTS, sys.executable)
COUNT = 300


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def rig(sink: Sink) -> Iterator[Rig]:
    rig = Rig(HERE, sink)
    yield rig
    rig.close()


def marks(*numbers: int) -> bytes:
    return json.dumps([EVENTS["plain"](number) for number in numbers]).encode()


def post(sink: Sink, body: bytes, path: str = "/", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(sink.url).netloc, timeout=5)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("POST", path, body, named)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_sink_tells_events_from_distinct_ones(sink: Sink) -> None:
    sink.rule()
    post(sink, marks(1, 2, 3))
    post(sink, marks(3, 4))
    counts = sink.count()
    assert (counts["events"], counts["distinct"]) == (5, 4)
    assert sink.count(2, 4)["distinct"] == 2
    assert sink.stats()["requests"] == 2
    sink.rule()
    assert sink.count()["events"] == 0


def test_the_sink_reads_what_is_packed(sink: Sink) -> None:
    sink.rule()
    post(sink, gzip.compress(marks(1, 2)), Content_Encoding="gzip")
    packed = base64.urlsafe_b64encode(marks(3)).decode().rstrip("=")
    post(sink, json.dumps({"data": [{"ue_px": packed}]}).encode())
    assert sink.count()["distinct"] == 3


def test_the_sink_reads_a_body_that_comes_in_pieces(sink: Sink) -> None:
    sink.rule()
    many = marks(*range(5_000))
    assert post(sink, many)[0] == 200
    assert sink.count()["distinct"] == 5_000
    assert sink.stats()["bytes"] == len(many)


def test_the_longest_prefix_rules_and_what_was_refused_has_not_arrived(sink: Sink) -> None:
    sink.rule({"/d1": {}, "/d10": {"status": 503}})
    assert post(sink, marks(1), "/d1/v1/batch")[0] == 200
    assert post(sink, marks(2), "/d10/v1/batch")[0] == 503
    counts = sink.count()
    assert counts["distinct"] == 1
    assert list(counts["paths"]) == ["/d1"]


def test_each_vendor_is_answered_in_its_words(sink: Sink) -> None:
    sink.rule(shape="interakt")
    assert post(sink, b"{}") == (202, b'{"result":true,"message":"Event tracked successfully"}')
    sink.rule(shape="suprsend")
    status, body = post(sink, b'[{"$insert_id": 1}, {"$insert_id": 2}]')
    assert (status, len(json.loads(body)["records"])) == (202, 2)
    for driver in DRIVERS.values():
        sink.rule(shape=driver.shape)


def test_a_sink_that_is_down_comes_back_at_the_same_address(sink: Sink) -> None:
    sink.rule()
    sink.down()
    with pytest.raises(OSError):
        post(sink, marks(1))
    sink.up()
    assert post(sink, marks(1))[0] == 200


def test_the_ceiling_of_a_sink_is_found_and_leaves_no_trace(sink: Sink) -> None:
    assert min(ceiling(sink, seconds=0.05).values()) > 0
    assert sink.stats()["requests"] == 0


def test_a_wrong_command_is_refused(sink: Sink) -> None:
    with pytest.raises(ValueError, match="there is no"):
        sink._do("dance")


@pytest.mark.parametrize(
    "name",
    ["floor-1-sender", "floor-per-event-16", "unitrack", "unitrack-sqlite", "unitrack-session", "unitrack-per-event"],
)
def test_a_trial_arrives_complete_and_says_so(rig: Rig, name: str) -> None:
    figures = measurements.throughput(rig, name, events=COUNT, per_event=COUNT)
    assert (figures["of"], figures["arrived"], figures["lost"], figures["duplicates"]) == (COUNT, COUNT, 0, 0)
    assert (figures["untold"], figures["reported"]) == (0, 0)
    assert (figures["events_per_request"] == 1) == DRIVERS[name].per_event
    assert min(figures[name] for name in ("events_per_s", "processor_100k", "p50", "bytes_per_event")) > 0


def test_a_loss_is_seen(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    count = rig.sink.count

    def all_but_two(low: int = 2, high: int = COUNT) -> dict[str, Any]:
        return count(low, high)

    monkeypatch.setattr(rig.sink, "count", all_but_two)
    figures = measurements.throughput(rig, "floor-1-sender", events=COUNT, per_event=COUNT)
    assert (figures["arrived"], figures["lost"], figures["untold"]) == (COUNT - 2, 2, 2)


def test_the_other_events_and_gzip_and_tls_arrive_as_well(rig: Rig) -> None:
    with Sink(tls=True) as safe_sink:
        rig.safe_sink = safe_sink
        over_tls = measurements.throughput(rig, "unitrack", events=COUNT, per_event=0, safe=True)
    nested = measurements.throughput(rig, "unitrack-gzip", events=COUNT, per_event=0, event="nested")
    assert over_tls["arrived"] == nested["arrived"] == COUNT
    assert nested["bytes_per_event"] < over_tls["bytes_per_event"] < len(json.dumps(EVENTS["nested"](1)))


def test_several_destinations_are_counted_one_by_one(rig: Rig) -> None:
    figures = measurements.fan(rig, "unitrack", destinations=3, events=COUNT)
    assert (figures["lost"], len(figures["speeds"])) == (0, 3)


def test_the_end_of_a_script_and_a_fork_are_seen_to_the_end(rig: Rig) -> None:
    left = measurements.leave(rig, "unitrack")
    assert (left["arrived"], left["lost"], left["ended"]) == (1_037, 0, True)
    forked = measurements.fork(rig, "unitrack")
    assert (forked["parent"], forked["child"], forked["missing"], forked["hangs"]) == (100, 100, 0, False)


def test_an_import_is_measured_with_what_it_loads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "IMPORTS", 1)
    figures = measurements.imports(rig, "unitrack")
    assert figures["ms"] > 0
    assert "attr" in figures["packages"]
    assert "unitrack" not in figures["packages"]


def test_a_client_that_is_not_there_is_named_and_stops_nobody(rig: Rig) -> None:
    figures = play(rig, "fork", "segment")
    assert "No module named 'segment'" in figures["failed"]
    text = page(run({"fork": {"segment": figures}}))
    assert "- fork, segment, round 1: " in text


# Bars, from made-up figures.


FLOOR, OURS = Figure("instant", "floor", "speed"), Figure("instant", "ours", "speed")
BAR = Bar("1", "ours ÷ the floor's", OURS, FLOOR, aim=0.65, must=0.5, most=True)


def speeds(ours: float, floor: float) -> dict[str, Any]:
    return {"instant": {"ours": {"speed": ours}, "floor": {"speed": floor}}}


@pytest.mark.parametrize(("ours", "verdict"), [(0.66, MET), (0.65, MET), (0.64, SHORT), (0.5, SHORT), (0.49, FAILED)])
def test_a_bar_is_met_short_or_failed(ours: float, verdict: str) -> None:
    assert BAR.reading([speeds(ours, 1.0)]).verdict == verdict


def test_less_is_better_unless_it_is_said_otherwise() -> None:
    bar = Bar("2", "time", OURS, FLOOR, aim=1.5, must=2.0)
    assert [bar.reading([speeds(value, 1.0)]).verdict for value in (1.5, 1.6, 2.1)] == [MET, SHORT, FAILED]


def test_a_figure_is_the_median_of_the_rounds_ratios() -> None:
    # The ratio of the medians would be 1.0.
    reading = BAR.reading([speeds(1, 2), speeds(10, 10), speeds(100, 300)])
    assert reading.value == pytest.approx(0.5)
    assert reading.values == pytest.approx((0.5, 1.0, 1 / 3))


def test_what_must_never_happen_is_judged_by_its_worst_round() -> None:
    bar = Bar("7", "lost", OURS, worst=True)
    assert bar.reading([speeds(0, 1)] * 4).verdict == MET
    assert bar.reading([speeds(0, 1), speeds(0, 1), speeds(1, 1)]).verdict == FAILED


def test_of_several_peers_the_best_of_the_round_counts() -> None:
    found = {"instant": {"a": {"speed": 3.0}, "b": {"speed": 5.0}, "c": {"failed": "no"}}}
    assert Figure("instant", "a b c", "speed").of(found) == 5.0
    assert Figure("instant", "a b c", "speed", most=False).of(found) == 3.0


def test_what_was_not_measured_is_named() -> None:
    reading = BAR.reading([{"instant": {"ours": {"speed": 1.0}, "floor": {"failed": "no"}}}])
    assert (reading.verdict, reading.missing) == (NOT_MEASURED, ("floor in instant",))
    assert line(reading).endswith("not measured in this run (no floor in instant)")
    nothing: list[dict[str, Any]] = [{}]
    assert {reading.verdict for reading in readings(nothing)} == {NOT_MEASURED}


# The tables fit together.


def test_every_bar_is_about_something_that_is_measured() -> None:
    measured = {(name, driver) for name, part in PARTS.items() for driver in part.drivers}
    assert needed() - measured == set()
    assert {driver for part in PARTS.values() for driver in part.drivers} == set(DRIVERS)
    assert {driver.environment for driver in DRIVERS.values()} <= set(ENVIRONMENTS)


def test_a_quick_run_leaves_nothing_out_but_what_says_so() -> None:
    missing = {name for name, driver in needed() - set(cells(0, quick=True)) if driver.startswith("unitrack")}
    assert missing == {name for name, part in PARTS.items() if not part.quick} - {"tls", "nested"}
    assert len(cells(2, quick=True)) < len(cells(0, quick=True)) < len(cells(0, quick=False))
    assert cells(0, quick=False, only=["unitrack"], parts=["fork"]) == [("fork", "unitrack")]


def test_only_what_a_bar_needs_may_be_asked_for() -> None:
    assert set(cells(0, quick=False, bars=True)) == needed()


def test_a_run_that_was_stopped_goes_on_with_the_rounds_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "run.json"
    monkeypatch.setattr("benchmarks.speed.run.interpreter", lambda name, base: Path(sys.executable))

    def bench(*arguments: str) -> list[Any]:
        told = ["--parts", "import-loaded", "--only", "unitrack", "--json", str(kept), *arguments]
        monkeypatch.setattr(sys, "argv", ["run", *told])
        main()
        rounds: list[Any] = json.loads(kept.read_text())["rounds"]
        return rounds

    with pytest.raises(SystemExit, match="there is no run in"):
        bench("--resume", "--rounds", "1")
    (first,) = bench("--rounds", "1")
    both = bench("--resume", "--rounds", "2")
    assert (both[0], len(both)) == (first, 2)
    assert "round 2, import-loaded, unitrack: " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="do not mix"):
        bench("--resume", "--quick")


def test_a_page_shows_every_bar_and_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.report.FINDINGS", tmp_path / "findings.md")
    figures = dict.fromkeys(COLUMNS, 1.25)
    text = page(run({name: dict.fromkeys(part.drivers, figures) for name, part in PARTS.items()}))
    assert [bar.title for bar in BARS if bar.title not in text] == []
    assert [part.title for part in PARTS.values() if f"### {part.title}\n" not in text] == []
    assert "falls short, and why" not in text
    (tmp_path / "findings.md").write_text("It is the *lock*.\n")
    assert "## What falls short, and why\n\nIt is the *lock*.\n" in page(run({}), run({}))


def test_the_page_of_the_last_run_has_every_bar() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [bar.title for bar in BARS if f"| {bar.title} |" not in text] == []


def test_the_machine_is_described() -> None:
    assert yardstick() > 0
    assert all(describe().values())


def run(*rounds: dict[str, Any]) -> dict[str, Any]:
    machine = {"processor": "a processor", "cores": "2", "memory": "1 GB", "system": "a system"}
    packages = {name: {"requests": "2.0"} for name in ENVIRONMENTS}
    return {
        "when": "2026-01-15", "quick": True, "share": 0.4, "python": "3.11.7", "rig_python": "3.11.7",
        "machine": machine, "packages": packages, "sink": "asyncio",
        "ceiling": {"single": 1.0, "batch": 1.0}, "yardstick": [1.0], "load": [0.0],
        "rounds": list(rounds),
    }  # fmt: skip

"""How fast and how light, for every client side by side: ``python -m benchmarks.speed.run --out docs/performance.md``.

A fresh process for every figure, all clients once and then all again, against a sink of ours on 127.0.0.1. A full run
takes about an hour, ``--quick`` less than ten minutes. Each client lives in an environment of its own, which the first
run makes below ``benchmarks/.venv``, with pip.
"""

# ruff: noqa: T201  it prints

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..environments import interpreter, packages
from . import machine
from .bars import needed, readings
from .broker import broker, program
from .ceiling import ceiling
from .drivers import DRIVERS
from .measurements import Figures
from .parts import PARTS
from .process import TrialFailed
from .report import line, page
from .rig import Rig
from .sink_control import Sink

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 5, 3, 0.4

#: One figure to take: a part and a driver.
Cell = tuple[str, str]


def cells(
    number: int, *, quick: bool, only: Sequence[str] = (), parts: Sequence[str] = (), bars: bool = False
) -> list[Cell]:
    """Return what is measured in a round, from 0; ``bars``: only what a bar needs."""
    found = []
    for name, part in PARTS.items():
        if number >= min(part.rounds, part.quick if quick else part.rounds) or (parts and name not in parts):
            continue
        drivers = part.drivers
        if quick:
            drivers = part.quick_drivers or tuple(one for one in drivers if (name, one) in needed())
        found += [
            (name, driver)
            for driver in drivers
            if (not only or driver in only) and (not bars or (name, driver) in needed())
        ]
    return found


def play(rig: Rig, name: str, driver: str) -> Figures:
    """Take one figure; that there is none is a figure, too."""
    try:
        return PARTS[name].play(rig, driver)
    except TrialFailed as error:
        rig.sink.cut()  # what hangs there must not reach the next one
        return {"failed": str(error)}


def rounds(rig: Rig, plan: Sequence[Sequence[Cell]], first: int = 1) -> Iterator[dict[str, dict[str, Figures]]]:
    """Play the rounds one after the other."""
    for number, round_ in enumerate(plan, first):
        found: dict[str, dict[str, Figures]] = {}
        for name, driver in round_:
            began = time.monotonic()
            figures = play(rig, name, driver)
            found.setdefault(name, {})[driver] = figures
            shown = figures.get("failed", "")
            print(f"round {number}, {name}, {driver}: {time.monotonic() - began:.1f} s {shown}".rstrip(), flush=True)
        yield found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run everything, and return all that the page is written from."""
    count = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    before = _begun(given) if given.resume else {}
    done = len(before.get("rounds", ()))
    plan = [
        cells(at, quick=given.quick, only=given.only, parts=given.parts, bars=given.bars) for at in range(done, count)
    ]
    drivers = sorted({driver for round_ in plan for _, driver in round_})
    environments = sorted({DRIVERS[driver].environment for driver in drivers} | {"sink", "unitrack"})
    pythons = dict(_interpreters(environments, given.python))
    version = subprocess.run([given.python, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]  # noqa: S603
    run: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d"), "quick": given.quick, "python": version, "machine": machine.describe(),
        "packages": {name: packages(python) for name, python in pythons.items()},
        "rig_python": platform.python_version(), "yardstick": [], "load": [], "rounds": [],
    }  # fmt: skip
    if before:
        run = before | {"packages": before["packages"] | run["packages"]}
    with ExitStack() as stack:
        sinks = [stack.enter_context(Sink(pythons["sink"], tls=tls)) for tls in (False, True)]
        rig = Rig(pythons, *sinks, share=given.share or (QUICK_SHARE if given.quick else 1.0))
        stack.callback(rig.close)
        server = program(pythons["unitrack"])
        if server and "unitrack-redis" in drivers:
            folder = Path(rig.scratch) / "broker"
            folder.mkdir()
            rig.broker = stack.enter_context(broker(server, folder))
        if not before:
            run |= {"sink": sinks[0].loop, "ceiling": ceiling(sinks[0]), "share": rig.share}
        for found in rounds(rig, plan, done + 1):
            run["rounds"].append(found)
            run["yardstick"].append(machine.yardstick())
            run["load"].append(machine.load())
            _keep(given.json, run)
    return run


def _begun(given: argparse.Namespace) -> dict[str, Any]:
    """Return the run to go on with; the rounds that it has stay as they are."""
    try:
        run: dict[str, Any] = json.loads(given.json.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit(f"--resume: there is no run in {given.json}; leave it out to begin one") from None
    if run["quick"] != given.quick:
        raise SystemExit("--resume: a quick run and a full one do not mix; give --quick as at first")
    return run


def _interpreters(names: Sequence[str], base: str) -> Iterator[tuple[str, Path]]:
    for name in names:
        try:
            yield name, interpreter(name, base)
        except subprocess.CalledProcessError:
            if name in ("sink", "unitrack"):
                raise
            print(f"{name} cannot be installed, so nothing is compared with it", flush=True)


def _keep(path: Path, run: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1), encoding="utf-8")


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only what the bars need, fewer events, three rounds")
    parser.add_argument("--only", type=names, default=(), help=f"some drivers of {', '.join(DRIVERS)}")
    parser.add_argument("--parts", type=names, default=(), help=f"some parts of {', '.join(PARTS)}")
    parser.add_argument("--bars", action="store_true", help="only what the bars need")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --json, up to --rounds")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--share", type=float, help=f"of the events; default 1, quick {QUICK_SHARE}")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for all clients")
    parser.add_argument("--out", type=Path, help="the page to write; default: only print")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", help="where the figures are kept")
    parser.add_argument(
        "--report", type=Path, nargs="+", metavar="JSON",
        help="measure nothing, write the page from kept figures; after the first, runs on other interpreters",
    )  # fmt: skip
    given = parser.parse_args()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in given.report] if given.report else [measure(given)]
    for reading in readings(runs[0]["rounds"]):
        print(line(reading))
    if given.out is not None:
        given.out.write_text(page(*runs), encoding="utf-8")


if __name__ == "__main__":
    main()

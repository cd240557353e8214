"""What becomes of 200 events when things go wrong, with nine clients side by side.

``python benchmarks/survival/run.py --out docs/survival.md`` takes about half an hour. Each cell is a fresh process with
a limit of time, against a server of ours on 127.0.0.1; each client lives in an environment of its own, which the first
run makes below ``benchmarks/.venv``, with pip.
"""

# ruff: noqa: E501, S101, S603, T201  it starts programs of its own and prints, one sentence a line

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))  # a script finds only what is beside it

from peers import KEY, PEERS
from sink import Answer, Sink
from situations import SITUATIONS, Reading, Run, Situation

from benchmarks.environments import interpreter
from benchmarks.pins import PEERS as PINS

HERE = Path(__file__).parent
COMMAND = "python benchmarks/survival/run.py --out docs/survival.md"

Row = tuple[Situation, list[Reading]]

#: Beside the patience of a situation: the interpreter, the import, the calls, the exit.
OVERHEAD = 15.0


def play(situation: Situation, name: str, python: Path) -> Run:
    """Play one cell."""
    with Sink(KEY, host="127.0.0.2") as elsewhere:
        answers = situation.answers
        if situation.redirect is not None:
            to = Answer(situation.redirect, {"Location": f"http://{elsewhere.address}/v1/batch"})
            answers = lambda number, seconds: to  # noqa: E731
        with (
            Sink(KEY, answers) as here,
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as errors,
        ):
            command = [str(python), str(HERE / "cell.py"), name, situation.program, here.address]
            began = time.monotonic()
            process = subprocess.Popen(
                command, cwd=HERE, stdin=subprocess.PIPE, stdout=output, stderr=errors,
                start_new_session=True,  # so that it can be ended together with its forks
            )  # fmt: skip
            code = _watch(process, situation, here, began)
            output.seek(0)
            run = Run(here, elsewhere, code, time.monotonic() - began)
            for line in output:
                run.facts |= json.loads(line)
            if "started" not in run.facts:
                errors.seek(0)
                raise SystemExit(f"{name} does not start:\n{errors.read()}")
            return run


def _watch(process: "subprocess.Popen[bytes]", situation: Situation, here: Sink, began: float) -> int | None:
    assert process.stdin is not None
    limit = began + situation.patience + OVERHEAD
    told = False
    while process.poll() is None and time.monotonic() < limit:
        waited = time.monotonic() - began
        if not told and (here.delivered() >= situation.expected > 0 or waited > situation.patience):
            told = True
            with contextlib.suppress(OSError):
                process.stdin.write(b"go on\n")
                process.stdin.flush()
        time.sleep(0.02)
    code = process.poll()
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return code


def rows(names: Sequence[str], pythons: dict[str, Path], only: str) -> Iterator[Row]:
    """Play the situations, one cell after the other, and return each row as it is read."""
    for situation in SITUATIONS:
        if only not in situation.title:
            continue
        cells = [situation.read(_best(situation, name, pythons[name])) for name in names]
        told = "; ".join(f"{name}: {text}" for name, (text, _) in zip(names, cells, strict=True))
        print(f"{situation.title}: {told}", flush=True)
        yield situation, cells


def _best(situation: Situation, name: str, python: Path) -> Run:
    runs = [play(situation, name, python) for _ in range(situation.runs)]
    return min(runs, key=lambda run: run.facts.get("longest", 0.0))


def page(names: Sequence[str], table: Sequence[Row], version: str) -> str:
    """Return the page."""
    good = [sum(cells[at][1] for _, cells in table) for at in range(len(names))]
    lines = [
        "# Survival: what becomes of 200 events when things go wrong",
        "",
        f"<!-- Written by `{COMMAND}`; every number is from that run. -->",
        "",
        "Nine clients in the same situations, each cell a fresh process against a server of ours on 127.0.0.1.",
        "A number alone counts the events that arrived; a cell that reads as the second column asks has a ✓.",
        "",
        "| situation | wanted | " + " | ".join(names) + " |",
        "| --- | --- |" + " --- |" * len(names),
        *("| " + " | ".join([row.title, row.wanted, *(f"{text} ✓" if fine else text for text, fine in cells)]) + " |" for row, cells in table),
        "| **✓** | | " + " | ".join(f"**{count} of {len(table)}**" for count in good) + " |",
        "",
        "",
        "## How to read it",
        "",
        "- *told* counts the events that a callback named as failed or succeeded; *kept* those that the client says it still holds; *twice* those that arrived more than once.",
        "- *child hangs*: a forked child did not come back within 8 seconds, and was killed.",
        "- A process that has not ended some seconds after its work is *never ends*; a call that takes longer than 12 seconds is shown so.",
        "- unitrack keeps its messages in memory here, as the others do, so a kill loses them all.",
        "- Settings are the defaults, except that Snowplow sends batches of 20 and Sentry's queue holds 1,000, so that a row shows its fault and not a bound.",
        "- Single runs, but for the longest call, which is the shortest of three runs: a time of milliseconds says little, a hang says all.",
        "",
        "",
        "## What was compared",
        "",
        f"CPython {version} on {platform.system()} ({platform.machine()}), {os.cpu_count()} cores.",
        "",
        "| column | package |",
        "| --- | --- |",
        *(f"| {name} | {PINS[name].replace('==', ' ') if name in PINS else 'unitrack-sdk, this working tree'} |" for name in names),
        "",
        "## Once more",
        "",
        "```console",
        f"$ {COMMAND}",
        "```",
        "",
        "It takes about half an hour, and downloads the packages named above the first time; `--only 302` plays one row, `--peers posthog,unitrack` some columns.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the page to write; default: only print")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for all clients")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of them, by name")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    given = parser.parse_args()
    names = given.peers.split(",")
    pythons = {name: interpreter(name, given.python) for name in names}
    version = subprocess.run([given.python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    table = list(rows(names, pythons, given.only))
    if given.out is not None:
        given.out.write_text(page(names, table, version), encoding="utf-8")


if __name__ == "__main__":
    main()

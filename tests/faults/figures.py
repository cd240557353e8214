"""Runs the slow rows whose result is a number, and keeps what they printed for ``docs/guarantees.md``.

``python -m tests.faults.figures`` runs all of them, about five minutes; with words behind it, those whose command has
one of them in it: ``python -m tests.faults.figures kill broker``. ``docs/guarantees.md`` is then to be printed anew.
"""

# ruff: noqa: T201  it prints

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_suffix(".json")
#: The name of the file in which :func:`figure` leaves its lines.
VARIABLE = "UNITRACK_FIGURES"

#: What is measured, and the command that prints it.
COMMANDS = {
    "processes that are killed at random moments": "-m slow tests/faults/test_disk_kill.py",
    "processes that the kernel kills in each of their writes": "-m slow tests/faults/test_disk_real.py",
    "a loss of power at each moment": "tests/faults/test_disk_power.py",
    "a million messages that wait on disk": "-m slow tests/faults/test_disk.py -k D20",
    "workers that are killed, frozen, added and taken away": "-m slow tests/faults/test_broker_workers.py",
    "a broker that is killed": "tests/faults/test_broker.py -k Q2",
    "a broker that is killed and frozen while lines are cut": "-m slow tests/faults/test_broker_chaos.py",
    "forks under load": "-m slow tests/faults/test_process_fork.py",
    "calls while every destination hangs": "-m slow tests/faults/test_load.py -k hangs",
}


def figure(line: str) -> None:
    """Tell what a test measured; ``pytest -s`` shows it."""
    print(line)
    if kept := os.environ.get(VARIABLE):
        with Path(kept).open("a") as file:
            file.write(line + "\n")


def measured() -> list[dict[str, Any]]:
    """Return what was kept, a dictionary with ``what``, ``command``, ``lines`` and ``where`` for each command."""
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return [{"what": what, **kept[what]} for what in COMMANDS if what in kept]


def measure(command: str) -> list[str]:
    """Run the tests that a command names, and return what they told.

    Raises:
        CalledProcessError: one of them failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "figures"
        run = [sys.executable, "-m", "pytest", "-q", *command.split()]
        subprocess.run(run, check=True, env={**os.environ, VARIABLE: str(kept)})
        return kept.read_text().splitlines()


def main(words: Sequence[str]) -> None:
    kept = {one.pop("what"): one for one in measured()}
    for what, options in COMMANDS.items():
        if words and not any(word in options for word in words):
            continue
        print(f"\n{what}", flush=True)
        lines = measure(options)
        print("\n".join(lines))
        today = datetime.now(UTC).date().isoformat()
        where = f"Python {platform.python_version()}, {os.cpu_count()} cores, {today}"
        kept[what] = {"command": f"pytest -s {options}", "lines": lines, "where": where}
        KEPT.write_text(json.dumps({name: kept[name] for name in COMMANDS if name in kept}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

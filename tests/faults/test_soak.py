"""Random faults for a while: some seconds with every change, minutes in ``make test-all``."""

import re
import subprocess
import sys

import pytest

from tests.pages import ROOT


def soak(minutes: float, seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests" / "soak.py"), f"--minutes={minutes}", f"--seed={seed}"],
        capture_output=True,
        text=True,
        timeout=minutes * 60 + 200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def row(report: str, name: str) -> list[int]:
    """Return a line of the report as numbers."""
    [line] = re.findall(rf"^{re.escape(name)}  +([\d, ]+)$", report, re.M)
    return [int(number.replace(",", "")) for number in line.split()]


def test_M4_random_faults_for_some_seconds() -> None:
    """Under random faults of every kind nothing is lost, nothing overtakes, and nothing is left behind."""
    report = soak(0.05, seed=1)
    assert sum(row(report, "lost")) == sum(row(report, "order violations")) == sum(row(report, "pending")) == 0
    # It did rain: messages had to be sent again, bad ones were given up, and forks went on by themselves.
    assert min(row(report, "retried")) > 0
    assert sum(row(report, "dead")) > 0
    assert min(row(report, "by children")) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [5, 12])
def test_M4_random_faults_for_minutes(seed: int) -> None:
    """Nor does anything grow over minutes of them: neither memory nor threads nor descriptors."""
    soak(2.0, seed)

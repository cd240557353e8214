"""Runs commands, in this process or as a real one, against a local vendor."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from unitrack import Client
from unitrack.cli.app import cli
from unitrack.receivers import HightouchReceiver

KEY = "canary-write-key-5f1e"
ORDERS = ("--event", "Order Completed", "--user-id", "customer", "--timestamp", "date", "-p", "total=amount:float")


def unitrack(*arguments: str, stdin: bytes | None = None, **environ: str) -> Result:
    """Run a command here."""
    return CliRunner(env={"UNITRACK_CONFIG": None, "UNITRACK_TRACEBACK": None, **environ}).invoke(
        cli, arguments, input=stdin, prog_name="unitrack"
    )


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own, whose output is no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "unitrack", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("UNITRACK_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str], timeout: float = 180) -> tuple[int, str, str]:
    """Wait for a process; return its exit code, output and errors."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@contextmanager
def vendor(folder: Path, *, key: str = KEY, more: str = "") -> Iterator[HightouchReceiver]:
    """Start a local Hightouch and write the configuration for it, ``unitrack.toml``."""
    with HightouchReceiver(write_key=KEY) as receiver:
        (folder / "unitrack.toml").write_text(
            f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "{key}"\nbase_url = "{receiver.url}"\n{more}'
        )
        yield receiver


def order_file(folder: Path, rows: Sequence[str], name: str = "orders.csv") -> str:
    """Write a CSV file of orders; return its name."""
    (folder / name).write_text("\n".join(["customer,date,amount", *rows, ""]))
    return name


def config(folder: Path) -> tuple[str, str]:
    """Return the words that name the configuration in a folder."""
    return ("-c", str(folder / "unitrack.toml"))


def fill(folder: Path, count: int, *, first: int = 0) -> None:
    """Queue messages of three users for others to send."""
    with Client.from_config(folder / "unitrack.toml", workers="external") as client:
        for number in range(first, first + count):
            assert client.track(f"u{number % 3}", "Order Paid", {"i": number}, message_id=f"m{number}")

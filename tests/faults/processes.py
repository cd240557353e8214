"""Runs a script in a process of its own: with a wall limit, a dump of all stacks on overrun, and ledgers told.

What a script may use is in :data:`HEAD`: ``make`` builds a client for the server under test and has its ledger told
when the process ends, ``in_child`` runs a function in a fork, ``ended`` waits for that fork.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from attrs import field, frozen

from tests.faults.conftest import assert_clean
from tests.faults.world import CANARIES
from unitrack import Ledger

ROOT = Path(__file__).parents[2]

#: Seconds after which a process and its forks must show where they hang, and are ended.
LIMIT = 30

# Not faulthandler.dump_traceback_later: its thread is missing in a fork, which then waits for it when it exits.
HEAD = f"""
import atexit, faulthandler, json, os, signal, sys, threading, time, traceback
faulthandler.register(signal.SIGUSR1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background deaf to Ctrl-C
from attrs import asdict
from unitrack import Client, Destination, Track
from unitrack.providers import Hightouch

ME = "main"

def tell(client, name=None):
    ledgers = {{name: asdict(ledger) for name, ledger in client.stats().items()}}
    os.write(1, f"\\nledger {{name or ME}} {{json.dumps(ledgers)}}\\n".encode())

def hightouch():
    return Hightouch(write_key={CANARIES["write_key"]!r}, base_url=sys.argv[1])

def make(**settings):
    made = []
    atexit.register(lambda: tell(made[0]))  # before the client registers its own: runs after it
    made.append(Client({{"cdp": hightouch()}}, **settings))
    return made[0]

def say(word):
    os.write(1, f"{{word}}\\n".encode())

def in_child(work, name="child"):
    global ME
    pid = os.fork()
    if pid:
        return pid
    ME = name
    signal.alarm(20)  # one that hangs dies of it, and its parent sees -14
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

"""

#: Python 3.12 and later warn of every fork of a process with threads; surviving that is what the rows are about.
_FLAGS = ("-X", "faulthandler", "-W", "ignore:This process:DeprecationWarning")


@frozen
class Told:
    """What a process said of its client before it ended; ``assert_conserved`` takes it for a client."""

    ledgers: Mapping[str, Ledger]

    def stats(self) -> Mapping[str, Ledger]:
        return self.ledgers


@frozen
class Ended:
    """A process that is over."""

    exit_code: int
    stdout: str = field(repr=False)
    stderr: str
    seconds: float
    told: Mapping[str, Told]

    @property
    def client(self) -> Told:
        """What the main process told."""
        return self.told["main"]

    def said(self, word: str) -> list[str]:
        """Return what followed a word at the beginning of a line, each time."""
        return [line.removeprefix(f"{word} ") for line in self.stdout.splitlines() if line.startswith(f"{word} ")]


class Process:
    """A script that runs. Leave the ``with`` block only after :meth:`end`, or it is killed."""

    def __init__(
        self,
        script: str,
        url: str = "",
        *,
        head: str = HEAD,
        file: Path | None = None,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        text = head + textwrap.dedent(script)
        if file is None:
            what = ["-c", text]
        else:
            file.write_text(text)
            what = [str(file)]
        self._began = time.monotonic()
        self._lines: list[str] = []
        # A session of its own, so that whatever it forked can be ended with it.
        self.process = subprocess.Popen(
            [sys.executable, *_FLAGS, *flags, *what, url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self._kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def wait_until_frozen(self) -> None:
        """Wait until the process was stopped by SIGSTOP."""
        found = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert found.si_code == os.CLD_STOPPED, "it ended"

    def wait_for(self, word: str) -> None:
        """Wait until the script says a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            if line.strip() == word:
                return
        raise AssertionError(f"it never said {word!r}: {self.process.communicate()[1]}")

    def end(self, *, code: int = 0) -> Ended:
        """Wait for the end, and check the exit code and that no secret is in the output."""
        try:
            out, err = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            err = self._kill()
            raise AssertionError(f"it hung, or left a child that does: {err}") from None
        seconds = time.monotonic() - self._began
        out = "".join(self._lines) + out
        assert_clean(out, err)
        assert self.process.returncode == code, f"exit code {self.process.returncode}, not {code}: {err}"
        return Ended(code, out, err, seconds, _told(out))

    def _kill(self) -> str:
        """End it and all it forked, and return what it wrote: at last, where each thread of each of them stood."""
        os.killpg(self.process.pid, signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.communicate()[1]


def run(
    script: str,
    url: str = "",
    *,
    code: int = 0,
    head: str = HEAD,
    file: Path | None = None,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a script to its end.

    Args:
        script: comes after ``head``.
        url: of the server; ``sys.argv[1]`` there.
        code: the exit code that it must have.
        file: where to put the script, if other processes must be able to import it.
    """
    with Process(script, url, head=head, file=file, flags=flags, env=env) as process:
        return process.end(code=code)


def our_threads() -> list[threading.Thread]:
    """Return the threads of clients in this process."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("unitrack-")]


def _told(out: str) -> dict[str, Told]:
    found = {}
    for line in out.splitlines():
        if line.startswith("ledger "):
            _, name, ledgers = line.split(" ", 2)
            found[name] = Told({key: Ledger(**value) for key, value in json.loads(ledgers).items()})
    return found

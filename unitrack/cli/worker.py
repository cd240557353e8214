"""``unitrack worker``: sends what others put into a shared queue, until it is told to stop."""

from collections.abc import Container
from contextlib import ExitStack
from pathlib import Path

import click
from attrs import evolve

from ..config import Client, Configuration
from ..errors import ConfigError, nearest
from ..queues import look_at
from ..results import Ledger
from .health import Health, answering
from .options import config_option, configuration
from .output import line
from .progress import progress, warnings
from .stop import told_to_stop

#: Seconds between two looks at the books; a health file is touched as often.
ROUND = 0.25
#: Rounds in a row in which nothing waited, after which a queue counts as empty: the files of dead processes are
#: looked for every two seconds.
EMPTY_ROUNDS = 12


@click.command(
    short_help="Send what waits in a shared queue.", epilog="Example: unitrack worker --config unitrack.toml"
)
@config_option
@click.option("--destination", "names", metavar="NAME", multiple=True, help="Send to this one only; repeatable.")
@click.option("--until-empty", is_flag=True, help="End when nothing waits any more.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long SIGTERM or Ctrl-C may take: what is being sent is finished, the rest stays queued.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Print a line so often where there is no terminal.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Touch this file all the time, for whoever watches.",
)
@click.option("--health-port", type=click.IntRange(0, 65535), metavar="PORT",
              help="Answer on 127.0.0.1:PORT with the ledgers as JSON; with 503 when the worker is stuck.")  # fmt: skip
def worker(
    config: str | None, names: tuple[str, ...], until_empty: bool, timeout: float, interval: float,
    health_file: Path | None, health_port: int | None,
) -> None:  # fmt: skip
    """Send what other processes put into a SQLite directory or a broker, until SIGTERM or Ctrl-C.

    Start as many as you like on a broker; they share the users among them, and each user's messages stay in order.
    Of a SQLite directory one process at a time takes what others left.
    A second Ctrl-C leaves at once; what was being sent then may be sent once more.
    Exit code 0 after a stop in order; with --until-empty 1 if messages stay queued or were given up.
    """
    setup = configuration(config)
    if setup.settings.queue.startswith("memory:"):
        raise ConfigError(
            "messages in memory are sent by their own process; set delivery.queue to sqlite:// or redis://"
        )
    for name in names:
        if name not in setup.destinations:
            raise ConfigError(f"there is no destination {name!r}{nearest(name, setup.destinations)}")
    if health_file is not None and not health_file.parent.is_dir():
        raise ConfigError(f"--health-file {health_file}: there is no directory {health_file.parent}")
    chosen = {name: one for name, one in setup.destinations.items() if not names or name in names}
    with ExitStack() as stack:
        stack.enter_context(warnings())
        stop = stack.enter_context(told_to_stop())
        client = Client.from_config(evolve(setup, destinations=chosen), workers="internal", mode="background")
        stack.callback(client.close, 0.0)  # also where it ends by an error, such as a broker that does not answer
        health = Health()
        if health_port is not None:
            stack.enter_context(answering(health, health_port))
        with progress(interval) as show:
            empty = 0
            while not stop.is_set():
                ledgers, trouble = client.stats(), client.trouble()
                show(ledgers, trouble)
                health.note(ledgers, trouble)
                empty = 0 if client.look_around() else empty + 1
                if until_empty and empty > EMPTY_ROUNDS:
                    if not _waits(setup, chosen):
                        break
                    empty = 0
                if health_file is not None:
                    health_file.touch()
                stop.wait(ROUND)
        before = client.stats()
        if stop.is_set():
            line(f"stopping: what is being sent is finished, within {timeout:g} s; Ctrl-C leaves at once")
        client.stop_reading()
        client.close(timeout)
        ledgers = {name: _at_the_end(ledger, before[name]) for name, ledger in client.stats().items()}
    left = {name: ledger.pending for name, ledger in ledgers.items() if ledger.pending}
    sent = sum(ledger.delivered for ledger in ledgers.values())
    kept = ", ".join(f"{count} for {name}" for name, count in left.items())
    dead = sum(sum(ledger.dead.values()) for ledger in ledgers.values())
    given_up = f", {dead} dead (see unitrack dead list)" if dead else ""
    line(f"{sent} delivered{given_up}" + (f"; they stay queued: {kept}" if kept else ""))
    if (left or dead) and until_empty:
        click.get_current_context().exit(1)


def _waits(setup: Configuration, chosen: Container[str]) -> bool:
    """Tell whether a broker has anything that is not here: another worker may have it, or had it until it was killed.

    Raises:
        ConfigError: the broker does not answer.
    """
    if setup.settings.queue.startswith("sqlite:"):
        return False  # what stands in files of live processes is theirs to send
    views, _ = look_at(setup.settings, 0.0)
    return any(view.messages for view in views if view.destination in chosen)


def _at_the_end(after: Ledger, before: Ledger) -> Ledger:
    """Return a ledger in which what was given back to the queue still waits."""
    settled = after.delivered - before.delivered + sum(after.dead.values()) - sum(before.dead.values())
    return evolve(after, pending=max(after.pending, before.pending - settled))

"""The group of all commands, and what happens when one fails: a sentence, exit code 2, no traceback."""

import logging
import os
from typing import Any

import click

from .. import __version__
from ..errors import UnitrackError
from . import check, demo, imports, letters, providers, queues, send, worker

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class _Failure(click.ClickException):
    exit_code = 2


class Commands(click.Group):
    """Shows errors as sentences; ``--traceback`` or ``UNITRACK_TRACEBACK=1`` shows where they came from."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe has gone
        except Exception as error:
            if ctx.params.get("traceback") or os.environ.get("UNITRACK_TRACEBACK"):
                raise
            if isinstance(error, (UnitrackError, OSError)):
                raise _Failure(str(error)) from error
            # Not the error's text: nobody planned for it, so nobody looked whether it quotes a secret.
            raise _Failure(
                f"{type(error).__name__}: this should not have happened; run it again with "
                "'unitrack --traceback …' and report what it prints"
            ) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="unitrack", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Show the log, on standard error.")
@click.option("--traceback", is_flag=True, hidden=True, help="Show where an error came from.")
def cli(verbose: bool, traceback: bool) -> None:
    """Say what happened once; have it arrive at every tool that should know."""
    log = logging.getLogger("unitrack")
    # Without a handler of ours Python would print every warning, and the commands say the same in their own words.
    if verbose:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.DEBUG)
    elif not log.handlers:
        log.addHandler(logging.NullHandler())


for command in (
    *(demo.demo, check.check, providers.providers, send.track, send.identify, imports.import_),
    *(worker.worker, queues.queue, letters.dead),
):
    cli.add_command(command)

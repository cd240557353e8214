"""``unitrack providers``: what each provider takes, and how much at once."""

import click

from . import capabilities
from .options import format_option
from .output import as_json, is_terminal, stacked, table


@click.command(short_help="Show what each provider takes.", epilog="Example: unitrack providers --format markdown")
@format_option("table", "markdown", "json")
def providers(output: str) -> None:
    """Show what each provider takes, with its default settings."""
    match output:
        case "json":
            as_json(capabilities.data())
        case "markdown":
            click.echo(capabilities.markdown(), nl=False)
        case _ if is_terminal():
            # Ten columns fit no terminal, so there each provider has a list of its own.
            stacked(capabilities.HEADERS, capabilities.rows())
        case _:
            table(capabilities.HEADERS, capabilities.rows())

"""``unitrack demo``: real orders to local stand-ins for the vendors, with faults on the way."""

import click

from ..demo import run
from ..demo.stands import FOUR, every


@click.command(short_help="Run everything on real orders; needs no account.", epilog="Example: unitrack demo --all")
@click.option("--all", "everyone", is_flag=True, help="All twelve vendors that can be played, not only four.")
def demo(everyone: bool) -> None:
    """Import 6,919 real orders into local vendors, two of which stumble, and count what arrives.

    Needs no account and no network. Exit code 0 only if every message is accounted for.
    """
    click.get_current_context().exit(run(names=every() if everyone else FOUR))

"""``unitrack import``: a CSV or JSON lines file, a message for each row."""

from pathlib import Path
from typing import Any

import click

from ..config import Configuration
from ..errors import ConfigError
from ..importing import format_of
from ..results import Ledger
from .import_job import Job, Result, run
from .import_view import view
from .mapping_options import mapping, mapping_options
from .options import config_option, configuration, format_option
from .output import as_json, fail, plain, table
from .preview import preview, show


@click.command(
    "import",
    short_help="Send a CSV or JSON lines file, a message for each row.",
    epilog="Example: unitrack import orders.csv --event 'Order Completed' --user-id customer_id --timestamp order_date "
    "-p items=cds:int -p total=amount_usd:float --rejects bad.csv",
)
@click.argument("file")
@mapping_options
@click.option(
    "--input", "input_format", type=click.Choice(["csv", "jsonl"]), help="Format of FILE. Default: by its name."
)
@click.option("--delimiter", help="Of a CSV file. Default: a comma; for .tsv a tab.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of a CSV file.")
@click.option("--rejects", metavar="FILE", help="Where to write rows that did not make it, with the reasons.")
@click.option("--strict", is_flag=True, help="Stop at the first bad row.")
@click.option("--state", metavar="FILE", help="Where to remember how far it came. Default: FILE.unitrack-state.")
@click.option("--restart", is_flag=True, help="Begin anew where an earlier import stopped in the middle.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N rows; the next run goes on.")
@click.option("--dry-run", is_flag=True, help="Show the first messages and count, but send nothing.")
@click.option("--patience", type=click.FloatRange(min=1), default=60.0, show_default=True, metavar="SECONDS",
              help="Stop when no message has got a verdict for so long; the next run goes on.")  # fmt: skip
@click.option("--report-every", type=click.IntRange(min=1), default=10_000, show_default=True, metavar="N",
              help="Print a line every N rows where there is no terminal.")  # fmt: skip
@config_option
@format_option("table", "json")
def import_(file: str, **options: Any) -> None:
    """Import FILE (CSV with a header, or JSON lines; - is standard input), a message for each row.

    They are sent at once, by this command: the configured queue is not used.
    Rows that cannot be read are counted and skipped.
    An interrupted import goes on where it stopped when it is run again, with the same message ids.
    When it has reached the end of the file, the next run begins anew, with the same ids too.
    Exit code 1 if a row was rejected or a destination did not take a message, 130 after Ctrl-C.
    """
    config, output = options.pop("config"), options.pop("output")
    dry_run, every = options.pop("dry_run"), options.pop("report_every")
    job = _job(file, options)
    context = click.get_current_context()
    if dry_run:
        seen = preview(job, _configuration_if_any(config))
        show(seen, output)
        context.exit(int(seen.rejected > 0))
    found = configuration(config)
    with view(file, every) as progress:
        result = run(job, found, progress)
    if output == "json":
        as_json(_data(result))
    else:
        _print(result)
    context.exit(result.exit_code)


def _job(file: str, options: dict[str, Any]) -> Job:
    guessed, delimiter = format_of(file)
    made = mapping(options)
    return Job(
        file=file, mapping=made, kind=options["input_format"] or guessed,
        delimiter=options["delimiter"] or delimiter, encoding=options["encoding"],
        rejects=_path(options["rejects"]), state=_path(options["state"]), restart=options["restart"],
        limit=options["limit"], strict=options["strict"], patience=options["patience"],
    )  # fmt: skip


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _configuration_if_any(path: str | None) -> Configuration | None:
    try:
        return configuration(path)
    except ConfigError:
        if path is not None:
            raise
        return None  # a mapping can be tried out before there is a configuration


def _print(result: Result) -> None:
    done = result.importer
    click.echo(f"{done.rows} rows, {done.rejected} rejected, {done.failed} failed")
    rows = [(name, each.delivered, each.filtered, each.pending, sum(_lost(each).values()), _reasons(each))
            for name, each in result.ledgers.items()]  # fmt: skip
    table(["destination", "delivered", "filtered", "waiting", "failed", "why"], rows)
    for number, reason in done.reasons:
        click.echo(f"line {number}: {plain(reason)}", err=True)
    if len(done.reasons) == done.MAX_REASONS:
        click.echo("… --rejects FILE writes all of them", err=True)
    if result.stopped:
        fail(f"stopped: {result.stopped}")
    if result.resumable:
        click.echo(f"Run the same command again to go on after row {done.rows}.", err=True)
    elif result.stopped:
        click.echo("Run the same command again to begin anew; each row keeps its message id.", err=True)


def _data(result: Result) -> dict[str, Any]:
    done = result.importer
    return {
        "rows": done.rows, "rejected": done.rejected, "failed": done.failed,
        "stopped": result.stopped or None, "resumable": result.resumable,
        "reasons": [{"line": number, "reason": reason} for number, reason in done.reasons],
        "destinations": {
            name: {"delivered": each.delivered, "filtered": each.filtered, "waiting": each.pending,
                   "failed": _lost(each)}
            for name, each in result.ledgers.items()
        },
    }  # fmt: skip


def _lost(ledger: Ledger) -> dict[str, int]:
    # "invalid" is the row's fault and counted as rejected.
    return {reason: count for reason, count in {**ledger.dropped, **ledger.dead}.items() if reason != "invalid"}


def _reasons(ledger: Ledger) -> str:
    lost = ", ".join(f"{reason} {count}" for reason, count in _lost(ledger).items())
    return "; ".join(part for part in (lost, ledger.held or "") if part)

"""Prints ``docs/guarantees.md``: what the rows with a test have proved, and which rows are still open.

``python -m tests.faults.guarantees > docs/guarantees.md``
"""

# ruff: noqa: E501, T201  it prints, one sentence a line

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.faults.figures import measured
from tests.faults.rows import EXCEPTIONS, GROUPS, LATER, ROWS, Row, RowTest, by_row, row_tests

COMMAND = "python -m tests.faults.guarantees"

HEAD = f"""\
# What you can rely on

<!-- Printed by `{COMMAND}`; change the docstrings of the tests, not this page. -->

What can be lost depends on [where messages wait](delivery.md#where-messages-wait); the rest is the same for every queue.

**What can be lost in memory.**
A process that is killed, crashes or loses power takes with it what it had not sent yet: usually what came within the last quarter of a second, while a destination is away up to the bounds of its queue, 100,000 messages or 64 MiB.
A process that ends in good order sends what waits, for at most 5 seconds, and then says in one line how many messages it could not send.

**What can be lost on disk** (`sqlite://`).
No end of the process loses a message whose receipt was truthy; the next process sends it.
A loss of power may take the last moments, unless `durability="power"` is set; the loss of the disk takes what waits there.

**What can be lost in a broker** (`redis://`).
What has not reached the broker is on disk, as above.
What is there is as safe as the broker: one that writes its file every second may lose the last second when its machine loses power, and whoever empties it by hand empties it.

**What can come twice.**
When the connection breaks before the answer, nobody knows whether the request arrived, and so it is sent again, with the same ids; most vendors recognise a repeat by them.
A process that is killed while it sends leaves at most what was in flight to be sent once more.
A message that was taken for certain is not sent again.

**What never happens.**

- A message disappears without being counted: accepted = delivered + filtered + dropped + dead + pending, at every moment.
- A call waits for the network, or raises for what is in a message, unless you asked for it (`mode="sync"`, `strict=True`).
- One destination delays, drops or sees what belongs to another.
- The messages of one user overtake each other on their way to a destination.
- A secret appears in a log, an error, a repr, a dead letter or a pickle, or is sent to another host.

Each line below is a fault that tests play, most of them against a real server on this machine; the sentences are the docstrings of the tests.
At the end of a test the ledger is held against the server's own books, and all output is searched for secrets.
Play one row with `pytest tests/faults -k H6_`.
"""

FIGURES = """\
## Figures

What these rows measured, when they were played at length.
`python -m tests.faults.figures` plays all of them again, in about five minutes; a command plays one.
*Lost*: accepted, but neither delivered nor counted as dead or dropped.
*Twice*: a message that a vendor got once more, with the same ids.
"""

OPEN = """\
## Open rows

A fault without a test is not promised, though it may well be handled.
"""


def page() -> str:
    """Return the whole page."""
    tested = by_row(row_tests())
    parts = [HEAD]
    for letter, name in GROUPS.items():
        rows = [row for row in ROWS if row.group == letter and row.id in tested]
        if rows:
            parts.append(f"## {name}\n\n" + "\n".join(_table(rows, tested)) + "\n")
    parts.append(FIGURES + "\n" + "\n\n".join(map(_figures, measured())) + "\n")
    parts.append(OPEN + "\n" + "\n".join(_open([row for row in ROWS if row.id not in tested])) + "\n")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _figures(one: Mapping[str, Any]) -> str:
    what = one["what"][0].upper() + one["what"][1:]
    return "\n".join([f"{what}: `{one['command']}` ({one['where']})", "", "```text", *one["lines"], "```"])


def _table(rows: Sequence[Row], tested: Mapping[str, list[RowTest]]) -> Iterator[str]:
    yield "| row | fault | what happens |"
    yield "| --- | --- | --- |"
    for row in rows:
        says = " ".join(dict.fromkeys(test.says for test in tested[row.id] if test.says))
        yield f"| {row.id} | {_cell(row.title)} | {_cell(says)} |"


def _open(rows: Sequence[Row]) -> Iterator[str]:
    yield "| row | fault | waits for |"
    yield "| --- | --- | --- |"
    for row in rows:
        why = LATER.get(row.group) or EXCEPTIONS.get(row.id) or "a test"
        yield f"| {row.id} | {_cell(row.title)} | {why} |"


def _cell(text: str) -> str:
    """Keep a text within its cell, and from being read as a link or as HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("``", "`")


if __name__ == "__main__":
    print(page(), end="")

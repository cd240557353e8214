"""The fault matrix as data: every fault that the project has a stand on, and which of them a test has played.

``python -m tests.faults.rows`` lists the rows of tier one that still wait for a test, and ends with 1 if there are any
that could have one. A test belongs to the row whose id follows ``test_`` in its name; the first paragraph of its
docstring says what happens, in the words that ``docs/guarantees.md`` prints.
"""

# ruff: noqa: T201  a command that prints

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import field, frozen

FAULTS = Path(__file__).parent

GROUPS = {
    "N": "Network",
    "H": "HTTP answers",
    "P": "Process, threads, exit",
    "M": "Memory, load, bad values",
    "C": "Concurrency",
    "T": "Time",
    "S": "Security",
    "D": "Disk",
    "Q": "Broker and workers",
}

#: Groups that wait for a queue which does not exist yet, with what they wait for.
LATER: dict[str, str] = {}

#: Rows of tier one that nothing can be played for today, with the reason.
EXCEPTIONS = {
    "H24": "no provider uses OAuth",
    "S9": "attachments are never fetched",
    "S14": "there is no inspector",
    "S15": "there is no inspector",
}


@frozen
class Row:
    """One fault. Tier 1 is played with every change, 2 now and then, 3 before a release."""

    id: str
    tier: Literal[1, 2, 3]
    title: str

    @property
    def group(self) -> str:
        return self.id[0]

    @property
    def waits_for(self) -> str | None:
        """What must exist before a test can play it; ``None``: nothing."""
        return LATER.get(self.group) or EXCEPTIONS.get(self.id)


ROWS = (
    Row("N1", 1, "The connection is refused, and some seconds later it is not"),
    Row("N2", 1, "The name lookup fails, or hangs"),
    Row("N3", 2, "The first of two addresses is dead"),
    Row("N4", 1, "Connections are neither accepted nor refused"),
    Row("N5", 1, "TLS: unknown authority, expired, wrong host, or plain HTTP on the port"),
    Row("N6", 2, "The TLS handshake stalls"),
    Row("N7", 1, "The connection is reset while the body is being sent"),
    Row("N8", 1, "The connection is reset after the server stored the batch"),
    Row("N9", 1, "The answer is cut off"),
    Row("N10", 1, "The server is slow but fine"),
    Row("N11", 1, "The answer comes one byte at a time, in its headers or in its body"),
    Row("N12", 1, "The server hangs before or after the headers of its answer"),
    Row("N13", 2, "The other side is gone without a word"),
    Row("N14", 1, "The server closed a connection that was kept for the next request"),
    Row("N15", 2, "The server does not read what is sent"),
    Row("N16", 1, "What comes back is not HTTP, has a bad status line, or is HTTP/0.9"),
    Row("N17", 2, "A thousand informational answers come before the real one, or 101"),
    Row("N18", 1, "The chunked encoding of the answer is garbage"),
    Row("N19", 2, "The answer has a header line of 1 MB, or 10,000 headers"),
    Row("N20", 1, "The body of the answer is 1 GB, or has no end"),
    Row("N21", 1, "The answer unpacks to a thousand times its size, or lies about its encoding"),
    Row("N22", 1, "The server redirects: same host, other host, to plain HTTP, in a circle"),
    Row("N23", 2, "The proxy is down or refuses"),
    Row("N24", 2, "The answer has two lengths, or bytes after its end"),
    Row("N25", 2, "The server speaks HTTP/1.0, or closes after every answer"),
    Row("N26", 2, "Only IPv6, or only IPv4, works"),
    Row("H1", 1, "200, and the body says that it failed"),
    Row("H2", 1, "200 with an HTML page: a login page, a captive proxy"),
    Row("H3", 1, "202, 204, or 200 without a body"),
    Row("H4", 1, "400 or 422 for a single message"),
    Row("H5", 1, "400 for a batch in which one message is bad"),
    Row("H6", 1, "401: the key is wrong or was changed"),
    Row("H7", 1, "403"),
    Row("H8", 1, "404, 405, 406, 410, 415, 501, 505"),
    Row("H9", 1, "408, 425"),
    Row("H10", 1, "409: already have it, or still working on it"),
    Row("H11", 1, "413: the batch is too large"),
    Row("H12", 1, "429 with a Retry-After in seconds"),
    Row("H13", 1, "429 with a Retry-After that is a date, from a server whose clock is an hour off"),
    Row("H14", 1, "A Retry-After that cannot be read"),
    Row("H15", 1, "A Retry-After of years"),
    Row("H16", 2, "429 for ever"),
    Row("H17", 1, "500, 502, 503, 504, 52x"),
    Row("H18", 2, "5xx for ever, over restarts"),
    Row("H19", 1, "One third of all messages fails for now, one third for ever, for every provider"),
    Row("H20", 1, "The answer to a bulk mixes taken, later and never"),
    Row("H21", 1, "The answer to a bulk has too few, too many, unknown or repeated verdicts"),
    Row("H22", 1, "Each event of each user meets failures of its own before it is taken"),
    Row("H23", 2, "Twenty processes come back from the same outage"),
    Row("H24", 1, "The endpoint for OAuth tokens is down, slow, or answers garbage"),
    Row("H25", 1, "A signature is refused for the clock, or the body changes after signing"),
    Row("H26", 2, "The server is up for a second and down for a second, again and again"),
    Row("P1", 1, "The script ends without a flush"),
    Row("P2", 1, "The script ends by sys.exit or an exception"),
    Row("P3", 1, "The process ends while the server hangs"),
    Row("P4", 1, "SIGTERM"),
    Row("P5", 1, "Ctrl-C, once and twice"),
    Row("P6", 1, "SIGKILL at a random moment"),
    Row("P7", 1, "SIGKILL at each step of storing, sending and settling"),
    Row("P8", 1, "A fork before the first event"),
    Row("P9", 1, "A fork while messages wait"),
    Row("P10", 1, "Forks while other threads track and flush"),
    Row("P11", 1, "A child that ends at once or becomes another program"),
    Row("P12", 2, "multiprocessing in each of its ways, process pools"),
    Row("P13", 1, "copy, deepcopy and pickle of a client"),
    Row("P14", 2, "gunicorn with preloading and recycled workers"),
    Row("P15", 2, "uWSGI that forks after loading"),
    Row("P16", 1, "A sending thread dies"),
    Row("P17", 1, "Tracking while the interpreter ends"),
    Row("P18", 2, "Daemon threads that still track while the interpreter ends"),
    Row("P19", 1, "asyncio: a cancelled flush, a closed loop, two loops"),
    Row("P20", 1, "Calls after close, close twice, close from anywhere"),
    Row("P21", 1, "flush and close with every kind of timeout"),
    Row("P22", 2, "The process is frozen for a minute"),
    Row("P23", 2, "Many short invocations, frozen right after each"),
    Row("P24", 2, "gevent or eventlet has patched the standard library"),
    Row("P25", 1, "Importing the package"),
    Row("P26", 2, "No thread can be started"),
    Row("P27", 2, "No descriptor is left"),
    Row("P28", 3, "Interpreters without a global lock, and interpreters within one process"),
    Row("M1", 1, "The queue is full"),
    Row("M2", 1, "The bound in bytes is reached"),
    Row("M3", 2, "A million events for a slow destination"),
    Row("M4", 2, "Half an hour of random faults"),
    Row("M5", 1, "An event of 10 MB"),
    Row("M6", 1, "Nesting without end, cycles, 100,000 keys"),
    Row("M7", 1, "NaN and infinity"),
    Row("M8", 1, "Lone surrogates, NUL, control characters, emoji"),
    Row("M9", 1, "Integers of more than 53 bits, and of thousands of digits"),
    Row("M10", 1, "Keys that are no text, and keys that become the same"),
    Row("M11", 1, "The properties change after the call, or during it"),
    Row("M12", 1, "Values of every common type"),
    Row("M13", 1, "Objects that have no JSON form, or that fail when looked at"),
    Row("M14", 1, "One message of a batch that cannot be encoded"),
    Row("M15", 1, "User ids of every kind"),
    Row("M16", 2, "Random trees of values"),
    Row("C1", 1, "64 threads track at once"),
    Row("C2", 1, "flush while others go on tracking"),
    Row("C3", 1, "close, flush, track and fork at the same moment"),
    Row("C4", 1, "Callbacks that raise, sleep, or call the client"),
    Row("C5", 1, "Middleware that raises, returns nonsense, changes in place, or sleeps"),
    Row("C6", 1, "A slow destination beside a fast one"),
    Row("C7", 1, "A bug in a provider's code"),
    Row("C8", 1, "Tracking from a signal handler, a destructor, a log handler"),
    Row("C9", 1, "A log handler that tracks what we log"),
    Row("C10", 2, "Locks held while something waits"),
    Row("C11", 2, "Destinations and credentials that change while tracking"),
    Row("C12", 3, "The tests themselves in random order and in parallel"),
    Row("T1", 1, "The wall clock jumps while a retry waits"),
    Row("T2", 2, "The machine sleeps"),
    Row("T3", 1, "A restart with the clock a day back"),
    Row("T4", 1, "The time of an event and the time of sending it"),
    Row("T5", 1, "Ids over a million messages, a fork and a clock that goes back"),
    Row("T6", 1, "A clock in 1970, in 2100, on a leap day"),
    Row("S1", 1, "Secrets in anything that is printed, logged or kept"),
    Row("S2", 1, "Line breaks and other control characters in ids, names and keys"),
    Row("S3", 1, "Ids that stand in the path of a URL"),
    Row("S4", 1, "A base_url that leads elsewhere, or is not protected"),
    Row("S5", 1, "A redirect that would take credentials along"),
    Row("S6", 1, "TLS verification switched off by accident"),
    Row("S7", 1, "A netrc entry for the host"),
    Row("S8", 1, "Attachment URLs of every scheme"),
    Row("S9", 1, "Fetching an attachment from a private address"),
    Row("S10", 1, "A local file named in an event"),
    Row("S11", 1, "Variables in a configuration"),
    Row("S12", 1, "A hostile configuration file"),
    Row("S13", 1, "Records and dead letters that somebody tampered with"),
    Row("S14", 1, "An inspector reached from elsewhere"),
    Row("S15", 1, "Scripts in what an inspector shows"),
    Row("S16", 2, "An inspector under attack"),
    Row("S17", 1, "Forged log lines"),
    Row("S18", 1, "Patterns that take for ever"),
    Row("S19", 2, "Plugins that nobody named"),
    Row("S20", 2, "Holes in dependencies, secrets in the repository"),
    Row("S21", 1, "Comparing tokens and signatures"),
    Row("S22", 2, "Debug logs of the HTTP library"),
    Row("D1", 1, "The disk is full when a message is accepted"),
    Row("D2", 1, "The disk is full when a message was delivered"),
    Row("D3", 1, "fsync fails"),
    Row("D4", 1, "The directory cannot be used"),
    Row("D5", 1, "The file is damaged"),
    Row("D6", 1, "Another process locks the file"),
    Row("D7", 1, "Two processes share a directory"),
    Row("D8", 1, "The process that owned a file died"),
    Row("D9", 1, "Sixteen processes want to adopt the same file"),
    Row("D10", 1, "SIGKILL at each write"),
    Row("D11", 2, "The power fails"),
    Row("D12", 1, "Who may read the files"),
    Row("D13", 1, "The file is opened by other means than SQLite"),
    Row("D14", 1, "A fork with an open file"),
    Row("D15", 2, "A file of an older or a newer version"),
    Row("D16", 2, "The quota is reached, then drained"),
    Row("D17", 2, "fsync is slow"),
    Row("D18", 2, "The directory disappears"),
    Row("D19", 1, "A planted row"),
    Row("D20", 2, "A start with a million waiting messages"),
    Row("D21", 1, "A message that kills the process while it is sent"),
    Row("D22", 2, "A file system that keeps no promises"),
    Row("Q1", 1, "The broker is down when a message is accepted"),
    Row("Q2", 2, "The broker is killed and comes back"),
    Row("Q3", 1, "A broker that would lose messages"),
    Row("Q4", 2, "The broker is out of memory"),
    Row("Q5", 1, "The broker's answer is lost"),
    Row("Q6", 2, "Workers are killed"),
    Row("Q7", 2, "A worker sleeps past its lease"),
    Row("Q8", 2, "A message that no worker survives"),
    Row("Q9", 2, "The number of workers changes under load"),
    Row("Q10", 2, "One user makes half of the traffic"),
    Row("Q11", 2, "Messages disappear from the broker"),
    Row("Q12", 2, "The broker refuses the password"),
    Row("Q13", 2, "SIGTERM for a worker"),
    Row("Q14", 2, "Programs of different versions share a broker"),
    Row("Q15", 2, "The network to the broker is cut"),
    Row("Q16", 1, "The same contract for every queue"),
)


@frozen
class RowTest:
    """A test of one row."""

    row: str
    name: str
    file: str
    says: str = field(default="")


_NAME = re.compile(r"test_([A-Z]\d+)_\w+")


def row_tests(folder: Path = FAULTS) -> list[RowTest]:
    """Return the tests of rows in the order in which they stand, without importing anything."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (match := _NAME.fullmatch(node.name)):
                paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
                found.append(RowTest(match[1], node.name, file.name, " ".join(paragraph.split())))
    return found


def by_row(tests: Sequence[RowTest]) -> Mapping[str, list[RowTest]]:
    """Return the tests of each row that has any."""
    found: dict[str, list[RowTest]] = {}
    for test in tests:
        found.setdefault(test.row, []).append(test)
    return found


def missing(tests: Sequence[RowTest]) -> list[Row]:
    """Return the rows of tier one that could have a test and have none."""
    tested = by_row(tests)
    return [row for row in ROWS if row.tier == 1 and row.waits_for is None and row.id not in tested]


def mistakes(tests: Sequence[RowTest]) -> list[str]:
    """Say what does not fit together: a test of no row, without its sentence, or of a row that nothing can play."""
    known = {row.id: row for row in ROWS}
    found = []
    for test in tests:
        if test.row not in known:
            found.append(f"{test.file}: {test.name}: there is no row {test.row}")
        elif not test.says:
            found.append(f"{test.file}: {test.name} has no docstring to print")
        elif test.row in EXCEPTIONS:
            found.append(f"{test.file}: {test.name}: {test.row} has a test, so it is no exception any more")
    return found


def main() -> int:
    tests = row_tests()
    tested = by_row(tests)
    played = [row for row in ROWS if row.tier == 1 and row.id in tested]
    waiting = [row for row in ROWS if row.tier == 1 and row.waits_for]
    gaps, wrong = missing(tests), mistakes(tests)
    print(f"{len(ROWS)} rows, {sum(row.id in tested for row in ROWS)} of them played by {len(tests)} tests")
    print(f"tier one: {len(played)} played, {len(waiting)} wait for something, {len(gaps)} without a test")
    for row in gaps:
        print(f"  {row.id:4} {row.title}")
    for line in wrong:
        print(line)
    return 1 if gaps or wrong else 0


if __name__ == "__main__":
    sys.exit(main())

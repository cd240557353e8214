"""``unitrack import``: a file in, verdicts out; bad rows, interrupts, dry runs."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unitrack.cli.mapping_options import _fact
from unitrack.importing import Cell
from unitrack.receivers import HightouchReceiver

from .running import ORDERS, finished, order_file, started, unitrack, vendor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def receiver(folder: Path) -> Iterator[HightouchReceiver]:
    with vendor(folder) as found:
        yield found


def good(count: int) -> list[str]:
    return [f"u{n % 5},2024-01-01,{n}.5" for n in range(count)]


def test_every_row_becomes_a_message(folder: Path, receiver: HightouchReceiver) -> None:
    result = unitrack("import", order_file(folder, good(250)), *ORDERS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "250 rows, 0 rejected, 0 failed",
        "destination  delivered  filtered  waiting  failed  why",
        "cdp          250        0         0        0",
    ]
    first = receiver.messages[0]
    assert (first["event"], first["userId"], first["properties"]) == ("Order Completed", "u0", {"total": 0.5})
    assert first["timestamp"].startswith("2024-01-01T00:00:00")
    assert (receiver.tally.received, receiver.tally.distinct) == (250, 250)
    assert not Path("orders.csv.unitrack-state").exists()


def test_a_second_run_repeats_the_ids(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(folder, [*good(20), *good(20)])
    for _ in range(2):
        assert unitrack("import", file, *ORDERS).exit_code == 0
    assert (receiver.tally.received, receiver.tally.distinct) == (80, 40)


def test_bad_rows_are_counted_named_and_written(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(
        folder, ["a,2024-01-01,1", ",2024-01-01,1", "b,never,1", "c,2024-01-01,x", 'd,"2024', "e,2024-01-01,1"]
    )
    result = unitrack("import", file, *ORDERS, "--rejects", "bad.csv")
    assert result.exit_code == 1
    assert result.stdout.startswith("6 rows, 4 rejected, 0 failed\n")
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 3", "line 4", "line 5", "line 6"]
    assert len(receiver.messages) == 2
    mended = Path("bad.csv").read_text().splitlines()
    assert mended[0] == "customer,date,amount,unitrack_line,unitrack_reason,unitrack_raw"
    assert len(mended) == 5
    Path("mended.csv").write_text("\n".join([mended[0], mended[3].replace(",x,", ",3,")]) + "\n")
    assert unitrack("import", "mended.csv", *ORDERS).exit_code == 0
    assert receiver.messages[-1]["properties"] == {"total": 3.0}


@pytest.mark.parametrize(
    ("rejects", "more"),
    [
        ("orders.csv", []),
        ("./sub/../orders.csv", []),
        ("link.csv", []),
        ("hard.csv", []),
        ("orders.csv.unitrack-state", []),
        ("orders.csv.unitrack-state.new", []),
        ("bad.csv", ["--state", "bad.csv"]),
        ("bad.csv", ["--state", "orders.csv"]),
        ("bad.csv", ["--state", "link.csv"]),
        ("orders.csv", ["--dry-run"]),
    ],
)
def test_a_file_that_would_be_written_over_is_refused_untouched(
    folder: Path, receiver: HightouchReceiver, rejects: str, more: list[str]
) -> None:
    file = order_file(folder, [*good(3), "b,never,1"])
    (folder / "sub").mkdir()
    (folder / "link.csv").symlink_to(file)
    (folder / "hard.csv").hardlink_to(file)
    before = Path(file).read_bytes()
    result = unitrack("import", file, *ORDERS, "--rejects", rejects, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "; name another file with --" in result.stderr
    assert Path(file).read_bytes() == before
    assert receiver.tally.requests == 0
    assert not (folder / "bad.csv").exists()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_row_that_nobody_mended_keeps_its_text_its_reason_and_its_line(
    folder: Path, receiver: HightouchReceiver, suffix: str
) -> None:
    if suffix == "csv":
        order_file(folder, ["a,2024-01-01,1", 'd,"2024'])
    else:
        (folder / "orders.jsonl").write_text('{"customer": "a", "date": "2024-01-01"}\n\n{"customer": \n')
    unitrack("import", f"orders.{suffix}", *ORDERS, "--rejects", f"bad.{suffix}")
    first = Path(f"bad.{suffix}").read_text()
    assert ('d,""2024' if suffix == "csv" else '{\\"customer\\":') in first
    for number in (1, 2):
        again = unitrack("import", f"bad.{suffix}", *ORDERS, "--rejects", f"bad{number}.{suffix}")
        assert again.exit_code == 1
        assert f"line {2 if suffix == 'csv' else 1}: is no " in again.stderr
        assert Path(f"bad{number}.{suffix}").read_text() == first
    dry = unitrack("import", f"bad.{suffix}", *ORDERS, "--dry-run")
    assert (dry.exit_code, ": is no " in dry.stdout) == (1, True)


def test_a_row_is_taken_once_its_cells_are_filled_in(folder: Path, receiver: HightouchReceiver) -> None:
    unitrack("import", order_file(folder, ['d,"2024']), *ORDERS, "--rejects", "bad.csv")
    header, row = Path("bad.csv").read_text().splitlines()
    Path("mended.csv").write_text(f"{header}\n{row.replace(',,,', 'd,2024-01-01,1,', 1)}\n")
    assert unitrack("import", "mended.csv", *ORDERS).exit_code == 0
    assert receiver.messages[-1]["userId"] == "d"


def test_rows_that_a_vendor_refuses_are_failed_and_written(folder: Path) -> None:
    whatsapp = '[destinations.wa]\nprovider = "interakt"\napi_key = "k"\nbase_url = "http://127.0.0.1:9"\n'
    with vendor(folder, more=whatsapp):
        file = order_file(folder, ["a,2024-01-01,1"])
        result = unitrack("import", file, "--kind", "page", "--user-id", "customer", "--rejects", "bad.csv")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "1 rows, 0 rejected, 1 failed"
    assert result.stdout.splitlines()[-1].split() == ["wa", "0", "0", "0", "1", "unsupported", "1"]
    assert "wa: unsupported: Interakt has no page call" in Path("bad.csv").read_text()


def test_the_summary_can_be_json(folder: Path, receiver: HightouchReceiver) -> None:
    result = unitrack("import", order_file(folder, ["a,2024-01-01,1", ",2024-01-01,1"]), *ORDERS, "--format", "json")
    assert json.loads(result.stdout) == {
        "rows": 2, "rejected": 1, "failed": 0, "stopped": None, "resumable": False,
        "reasons": [{"line": 3, "reason": "user_id: column 'customer' is empty"}],
        "destinations": {"cdp": {"delivered": 1, "filtered": 0, "waiting": 0, "failed": {}}},
    }  # fmt: skip


def test_a_dry_run_shows_the_first_messages_and_sends_nothing(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(folder, [*good(10), ",2024-01-01,1"])
    result = unitrack("import", file, *ORDERS, "--dry-run")
    assert result.exit_code == 1
    assert result.stdout.count('"kind": "track"') == 3
    assert "dry run: 11 rows, 10 messages, 1 rejected; nothing was sent\n  line 12: user_id:" in result.stdout
    assert receiver.tally.requests == 0
    assert not Path("orders.csv.unitrack-state").exists()


def test_a_dry_run_says_what_destinations_cannot_take(folder: Path) -> None:
    whatsapp = '[destinations.wa]\nprovider = "interakt"\napi_key = "k"\n'
    (folder / "unitrack.toml").write_text(whatsapp)
    Path("m.toml").write_text('kind = "page"\nuser_id = "customer"\n')
    result = unitrack("import", order_file(folder, good(4)), "--mapping", "m.toml", "--dry-run", "--format", "json")
    found = json.loads(result.stdout)
    assert found["refused"] == {"wa": {"Interakt has no page call; send a track event instead": 4}}
    assert (found["rows"], found["first"][0]["properties"]) == (4, {"date": "2024-01-01", "amount": 0.5})


def test_a_dry_run_needs_no_configuration(folder: Path) -> None:
    assert unitrack("import", order_file(folder, good(4)), *ORDERS, "--dry-run").exit_code == 0


def test_json_lines_and_standard_input_can_be_imported(folder: Path, receiver: HightouchReceiver) -> None:
    rows = b'{"user": {"id": 7}, "what": "Signed Up", "plan": "pro"}\n{"user": {}}\n'
    result = unitrack("import", "-", "--input", "jsonl", "--user-id", "user.id", "--event-column", "what",
                      "-p", "plan", stdin=rows)  # fmt: skip
    assert result.exit_code == 1
    assert result.stdout.startswith("2 rows, 1 rejected")
    assert [(m["userId"], m["event"], m["properties"]) for m in receiver.messages] == [
        ("7", "Signed Up", {"plan": "pro"})
    ]
    assert list(folder.glob("*state*")) == []


@pytest.mark.parametrize("line", [b'{"user": 7, "plan": "pro"}\n', b'\xef\xbb\xbf{"user":7,"plan":"pro"}\n'])
def test_json_lines_that_are_read_as_csv_say_which_option_is_missing(receiver: HightouchReceiver, line: bytes) -> None:
    result = unitrack("import", "-", "--user-id", "user", "--event", "E", stdin=line)
    assert result.exit_code == 2
    assert result.stderr.endswith("; for JSON lines say --input jsonl\n")


def test_options_win_over_the_mapping_file(folder: Path, receiver: HightouchReceiver) -> None:
    Path("m.toml").write_text('event = "A"\nuser_id = "customer"\ntimestamp = "date"\n[properties]\nx = "amount"\n')
    file = order_file(folder, ["a,2024-01-01,1"])
    assert unitrack("import", file, "--mapping", "m.toml", "--event", "B", "--shift", "1y").exit_code == 0
    (message,) = receiver.messages
    assert (message["event"], message["properties"], message["timestamp"][:4]) == ("B", {"x": 1}, "2025")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "event is missing"),
        (["--event", "E"], "user_id is missing"),
        (["--event", "E", "--event-column", "x", "--user-id", "customer"], "not both"),
        (["--event", "E", "--user-id", "custmer"], "the file has no column 'custmer' (did you mean 'customer'?)"),
        (["--event", "E", "--user-id", "customer", "--shift", "1y"], "need --timestamp"),
        (["--event", "E", "--user-id", "customer", "--timestamp", "date", "--shift", "long"], "shift must be"),
        (["--event", "E", "--user-id", "customer", "-p", "=x"], "must be NAME"),
        (
            ["--event", "E", "--user-id", "customer", "-p", "total=amount:flot"],
            "column 'amount': there is no type 'flot' (did you mean 'float'?)",
        ),
        (["--event", "E", "--user-id", "customer:flot"], "the file has no column 'customer:flot'"),
        (
            ["--event", "E", "--user-id", "customer", "--timestamp", "date", "--timestamp-format", "%Q"],
            "format must be iso, unix, unix-ms, or one of Python's strptime such as '%d/%m/%Y', not '%Q'",
        ),
        (["--event", "E", "--user-id", "customer", "--state", "gone/x"], "name another file for the state"),
        (["--event", "E", "--user-id", "customer", "--rejects", "gone/x"], "cannot write gone/x"),
        (["--mapping", "gone.toml"], "cannot read the mapping gone.toml"),
    ],
)
def test_a_wrong_mapping_is_a_sentence_before_anything_is_sent(
    folder: Path, receiver: HightouchReceiver, arguments: list[str], sentence: str
) -> None:
    result = unitrack("import", order_file(folder, good(3)), *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert receiver.tally.requests == 0


def test_a_file_that_is_missing_is_a_sentence(receiver: HightouchReceiver) -> None:
    result = unitrack("import", "gone.csv", *ORDERS)
    assert (result.exit_code, result.stderr) == (2, "Error: cannot read gone.csv: No such file or directory\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("total", ("total", Cell("total"))),
        ("total:int", ("total", Cell("total", "int"))),
        ("total=amount", ("total", Cell("amount"))),
        ("total=amount:float", ("total", Cell("amount", "float"))),
        ("total=a:b", ("total", Cell("a:b"))),
        ("total=:int", ("total", Cell(":int"))),
    ],
)
def test_a_property_is_a_name_a_column_and_a_type(text: str, expected: tuple[str, Cell]) -> None:
    assert _fact(text) == expected


# Going on


def test_a_limit_stops_and_the_next_run_goes_on(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(folder, good(30))
    result = unitrack("import", file, *ORDERS, "--limit", "10")
    assert result.exit_code == 0
    assert "Run the same command again to go on after row 10." in result.stderr
    assert len(receiver.messages) == 10
    result = unitrack("import", file, *ORDERS)
    assert "Going on after row 10." in result.stderr
    assert result.stdout.startswith("30 rows, ")
    assert (receiver.tally.received, receiver.tally.distinct) == (30, 30)
    unitrack("import", file, *ORDERS)
    assert (receiver.tally.received, receiver.tally.distinct) == (60, 30)


def test_strict_stops_and_goes_on_once_the_row_is_mended(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(folder, [*good(3), "x,never,1", *good(2)])
    result = unitrack("import", file, *ORDERS, "--strict")
    assert result.exit_code == 1
    assert "Error: stopped: line 5: timestamp: column 'date': 'never' is no time (iso)" in result.stderr
    assert len(receiver.messages) == 3
    order_file(folder, [*good(3), "x,2024-01-01,1", *good(2)])
    assert unitrack("import", file, *ORDERS, "--strict").exit_code == 0
    assert (receiver.tally.received, receiver.tally.distinct) == (6, 6)


@pytest.mark.parametrize(
    ("rows", "arguments", "sentence"),
    [
        (["z,2024-01-01,1", *good(29)], [], "the file has changed since the import stopped"),
        (["u9,2024-01-01,0.5", *good(30)[1:]], [], "the file has changed since the import stopped"),
        (good(5), [], "the file has changed since the import stopped"),
        (good(30), ["-p", "more=amount"], "the mapping has changed since the import stopped"),
    ],
)
def test_going_on_with_something_else_is_refused_until_asked_for(
    folder: Path, receiver: HightouchReceiver, rows: list[str], arguments: list[str], sentence: str
) -> None:
    file = order_file(folder, good(30))
    unitrack("import", file, *ORDERS, "--limit", "10")
    order_file(folder, rows)
    result = unitrack("import", file, *ORDERS, *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert receiver.tally.received == 10
    assert unitrack("import", file, *ORDERS, *arguments, "--restart").exit_code == 0
    assert receiver.tally.received == 10 + len(rows)


def test_rejected_rows_are_written_once_over_an_interrupt(folder: Path, receiver: HightouchReceiver) -> None:
    file = order_file(folder, ["a,never,1", *good(5), "b,never,1"])
    unitrack("import", file, *ORDERS, "--rejects", "bad.csv", "--limit", "3")
    unitrack("import", file, *ORDERS, "--rejects", "bad.csv")
    assert [line.split(",")[0] for line in Path("bad.csv").read_text().splitlines()] == ["customer", "a", "b"]


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    """Wait until a function is true, at most 20 seconds, as long as the process lives."""
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_settles_what_is_out_and_tells_how_to_go_on(folder: Path, number: int, code: int) -> None:
    with vendor(folder) as receiver:
        file = order_file(folder, good(5_000))
        process = started(folder, "import", file, *ORDERS)
        wait_for(lambda: receiver.tally.received, process)
        process.send_signal(number)
        exit_code, out, err = finished(process)
        arrived = receiver.tally.received
        assert exit_code == code
        assert 0 < arrived < 5_000
        assert out.startswith(f"{arrived} rows, 0 rejected, 0 failed\n")
        assert err == f"Error: stopped: interrupted\nRun the same command again to go on after row {arrived}.\n"
        assert finished(started(folder, "import", file, *ORDERS))[0] == 0
        assert (receiver.tally.received, receiver.tally.distinct) == (5_000, 5_000)


def test_after_a_kill_nothing_is_lost_and_what_is_sent_again_has_the_same_id(folder: Path) -> None:
    with vendor(folder) as receiver:
        file = order_file(folder, good(5_000))
        process = started(folder, "import", file, *ORDERS)
        wait_for((folder / "orders.csv.unitrack-state").exists, process)
        process.kill()
        assert finished(process)[0] == -signal.SIGKILL
        code, out, err = finished(started(folder, "import", file, *ORDERS))
        assert code == 0
        assert "Going on after row" in err
        assert out.startswith("5000 rows, ")
        assert receiver.tally.distinct == 5_000
        assert receiver.tally.received < 9_000


def test_a_destination_that_takes_nothing_stops_the_import(folder: Path) -> None:
    with vendor(folder, key="wrong-key-123"):
        result = unitrack("import", order_file(folder, good(10)), *ORDERS, "--patience", "1")
    assert result.exit_code == 1
    assert "Waiting for cdp: 401" in result.stderr
    assert "Error: stopped: nothing was taken for 1 s (cdp: 401" in result.stderr
    assert result.stdout.splitlines()[-1].startswith("cdp          0          0         10       0       401")


# What it looks like


def test_without_a_terminal_there_is_a_plain_line_every_so_many_rows(folder: Path) -> None:
    with vendor(folder):
        file = order_file(folder, good(1_000))
        _, out, err = finished(started(folder, "import", file, *ORDERS, "--report-every", "400"))
    assert re.fullmatch(
        r"400 rows, 0 rejected, 0 failed, \d+ rows/s\n800 rows, 0 rejected, 0 failed, \d+ rows/s\n", err
    )
    assert "\x1b" not in out + err


def test_on_a_terminal_there_is_a_bar_and_a_table(folder: Path) -> None:
    with vendor(folder):
        file = order_file(folder, good(1_000))
        screen, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "unitrack", "import", file, *ORDERS],
            cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        )  # fmt: skip
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(screen, 65536):
                shown += piece
        except OSError:
            pass  # how Linux says that the other end was closed
        os.close(screen)
        assert process.wait(30) == 0
    text = shown.decode()
    assert "rejected 0" in text
    assert "━" in text
    assert "─────" in text
    assert "1000 rows, 0 rejected, 0 failed" in text

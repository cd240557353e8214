"""``unitrack dead``: which letters are meant, what a narrow terminal shows of them, why some stay."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.broker import BrokerServer
from unitrack import Client
from unitrack.cli.output import fitted
from unitrack.providers import Hightouch
from unitrack.queue import DeadLetter
from unitrack.queues import open_queue
from unitrack.settings import Settings
from unitrack.testing import FakeTransport
from unitrack.wire import Response

from .running import KEY, finished, started, unitrack

FIRST, SECOND, OTHER = (f"{start}-699a-4c38-b187-265de485cb40" for start in ("1ce1c69c", "1ce1d000", "f00df00d"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    configure(tmp_path, f"sqlite://{tmp_path}/queue")
    return tmp_path


def configure(folder: Path, queue: str, more: str = "") -> None:
    (folder / "unitrack.toml").write_text(
        f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = {{ env = "NOT_SET_HERE" }}\n'
        f'[delivery]\nqueue = "{queue}"\n{more}'
    )


def bury(folder: Path, *ids: str, destination: str = "cdp") -> None:
    """Have a vendor refuse messages."""
    refusing = FakeTransport(lambda request: Response(status=400, body=b"no such plan"))
    to = {destination: Hightouch(write_key=KEY)}
    with Client(to, queue=f"sqlite://{folder}/queue", transport=refusing, linger=0.0) as client:
        for message_id in ids:
            client.track("u", "Order Completed By Mail", message_id=message_id)
        assert client.flush(10)


def keep(folder: Path, letter: DeadLetter) -> None:
    queue = open_queue(Settings(queue=f"sqlite://{folder}/queue"))
    queue.keep_dead(letter)
    queue.close()


# Which letters.


def test_letters_of_a_destination_that_is_not_configured_any_more_can_be_chosen(folder: Path) -> None:
    bury(folder, "m1", destination="old")
    done = unitrack("dead", "list", "--destination", "old")
    assert (done.exit_code, "1 dead letter" in done.output) == (0, True), done.output
    wrong = unitrack("dead", "list", "--destination", "odl")
    assert (wrong.exit_code, "did you mean 'old'" in wrong.stderr) == (2, True), wrong.output


@pytest.mark.parametrize("words", [["list"], ["replay"], ["purge", "--yes"], ["show", "m1"]])
def test_a_reason_that_nobody_knows_is_refused_with_the_nearest(folder: Path, words: list[str]) -> None:
    bury(folder, "m1")
    done = unitrack("dead", *words, "--reason", "rejectd")
    assert (done.exit_code, "did you mean 'rejected'" in done.stderr) == (2, True), done.output
    assert "there are damaged, exhausted" in unitrack("dead", *words, "--reason", "zzz").stderr
    assert "1 dead letter\n" in unitrack("dead", "list").stdout


def test_a_reason_that_only_a_letter_knows_can_be_chosen(folder: Path) -> None:
    keep(folder, DeadLetter("cdp", "m1", "of_a_later_version", "", 1, 0.0, 0.0, b"{}"))
    assert "1 dead letter\n" in unitrack("dead", "list", "--reason", "of_a_later_version").stdout
    assert unitrack("dead", "list", "--reason", "poison").stdout == "0 dead letters\n"


def test_the_beginning_of_an_id_is_enough_if_no_other_begins_so(folder: Path) -> None:
    bury(folder, FIRST, SECOND, OTHER, "f00d")
    [shown] = json.loads(unitrack("dead", "show", "1ce1c", "--format", "json").stdout)
    assert shown["message_id"] == FIRST
    two = unitrack("dead", "show", "1ce1")
    assert two.exit_code == 2
    assert two.stderr == "Error: 2 messages begin with '1ce1'; write more of the id\n"
    [whole] = json.loads(unitrack("dead", "show", "f00d", "--format", "json").stdout)
    assert whole["message_id"] == "f00d", "a whole id is not the beginning of another"


# What is shown.


def test_an_id_stays_on_one_line_of_a_terminal_of_80_columns(folder: Path) -> None:
    bury(folder, FIRST)
    done = unitrack("dead", "list", FORCE_COLOR="1", COLUMNS="80")
    shown = click.unstyle(done.stdout)
    assert FIRST in shown
    assert "Order Co…" in shown
    assert "rejected" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("columns", [30, 44, 60])
def test_a_terminal_without_room_for_a_table_gets_lists_of_whole_words(folder: Path, columns: int) -> None:
    bury(folder, FIRST)
    narrow = {"FORCE_COLOR": "1", "COLUMNS": str(columns)}
    shown = click.unstyle(unitrack("dead", "list", **narrow).stdout).splitlines()
    assert shown[0] == FIRST
    assert shown[1:4] == [
        "  to             cdp",
        "  what           Order Completed By Mail",
        "  reason         rejected",
    ]
    assert max(map(len, shown)) <= max(columns, 44)
    shown = click.unstyle(unitrack("queue", "stats", **narrow).stdout).splitlines()
    if columns < 60:
        assert shown == ["cdp", "  waiting          0", "  dead             1 rejected"]
    else:
        headers = {"destination", "waiting", "bytes", "oldest", "users", "wait", "for", "a", "time", "dead"}
        assert {word for text in shown for word in text.split() if word.isalnum()} == headers | {
            "cdp", "0", "1", "rejected",
        }  # fmt: skip


def test_columns_have_the_room_that_they_need_if_there_is_enough() -> None:
    assert fitted(["id", "what"], [["m-1", "Order Completed"]], 99, "id", "what") == [3, 15]
    assert fitted(["id", "what"], [], 1, "id", "what") == [2, 4]


# Without what is not needed.


@pytest.mark.parametrize("words", ["list", "replay --all", "purge --all --yes", "purge --all", "list --reason poison"])
def test_a_command_that_finds_nothing_makes_no_directory(folder: Path, words: str) -> None:
    assert unitrack("dead", *words.split()).exit_code == 0
    assert not (folder / "queue").exists()


def test_letters_of_a_broker_are_looked_at_without_a_spool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    with BrokerServer(folder / "broker") as broker:
        for url in (broker.url, f"{broker.url}?spool={folder}/spool"):
            configure(folder, url)
            assert unitrack("dead", "list").stdout == "0 dead letters\n"
            assert unitrack("queue", "stats").stdout.split()[-2:] == ["cdp", "0"]
    assert not (folder / "state").exists()
    assert not (folder / "spool").exists()


def test_dead_letters_need_no_vendors_secret(folder: Path) -> None:
    bury(folder, "m1", "m2", "m3")
    assert unitrack("check").exit_code == 2, "whose secret is not there"
    assert "3 dead letters" in unitrack("dead", "list").stdout
    assert unitrack("dead", "show", "m1").exit_code == 0
    done = unitrack("dead", "replay", "--reason", "rejected", "--since", "2001-01-01")
    assert (done.exit_code, done.stdout) == (0, "3 of 3 wait again\n"), done.output
    assert unitrack("dead", "purge", "--all", "--yes").stdout == "0 forgotten\n"


def test_replay_leaves_the_sending_to_others_also_where_the_configuration_says_sync(folder: Path) -> None:
    bury(folder, "m1")
    configure(folder, f"sqlite://{folder}/queue", 'mode = "sync"\n')
    assert unitrack("dead", "replay", "--all").stdout == "1 of 1 wait again\n"
    [seen] = json.loads(unitrack("queue", "stats", "--format", "json").stdout)["destinations"]
    assert (seen["destination"], seen["messages"], seen["delayed"]) == ("cdp", 1, 0)


# Why some stay.


def test_replay_says_why_letters_stay(folder: Path) -> None:
    bury(folder, "m1")
    bury(folder, "m2", destination="old")
    keep(folder, DeadLetter("cdp", "m3", "unreadable", "", 1, 0.0, 0.0, b"{}"))
    done = unitrack("dead", "replay", "--all")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "1 of 3 wait again",
        "1 stays: destination 'old' is not configured",
        "1 stays: this version cannot read the message",
    ]
    assert {letter["message_id"] for letter in json.loads(unitrack("dead", "list", "--format", "json").stdout)} == {
        "m2", "m3",
    }  # fmt: skip


def test_replay_says_when_to_run_it_again(folder: Path) -> None:
    bury(folder, "m1", "m2", "m3")
    configure(folder, f"sqlite://{folder}/queue", "max_events = 1\n")
    done = unitrack("dead", "replay", "--all")
    assert done.exit_code == 1
    assert done.stdout == "1 of 3 wait again\n2 stay: the queue takes no more at once; run this again\n"
    assert unitrack("dead", "replay", "--all").stdout.startswith("1 of 2 wait again\n")


# Who is asked.


def test_purge_without_a_terminal_says_what_to_say(folder: Path) -> None:
    bury(folder, "m1")
    code, out, err = finished(started(folder, "dead", "purge", "--all"))
    assert (code, out) == (2, "")
    assert err == "Error: nobody can be asked here; say --yes to purge without a terminal\n"
    assert "1 dead letter\n" in unitrack("dead", "list").stdout


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, "1 dead letter\n"), (b"y\n", 0, "0 dead letters\n")])
def test_purge_asks_on_a_terminal(folder: Path, answer: bytes, code: int, left: str) -> None:
    bury(folder, "m1")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "unitrack", "dead", "purge", "--all"],
        cwd=folder, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(ours, answer)
    assert finished(process)[0] == code
    os.close(ours)
    os.close(theirs)
    assert left in unitrack("dead", "list").stdout

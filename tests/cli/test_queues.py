"""``unitrack queue stats``: what it needs, what it says where there is nothing to see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.broker import BrokerServer
from unitrack import Client, ConfigError
from unitrack.providers import Hightouch
from unitrack.queues import look_at
from unitrack.settings import Settings

from .running import KEY, unitrack, vendor

EMPTY = "destination  waiting  bytes  oldest  users  wait for a time  dead\ncdp          0\n"
PASSWORD = "s3cr3t-9f2c"


def configure(folder: Path, queue: str, more: str = "") -> tuple[str, str]:
    path = folder / "unitrack.toml"
    path.write_text(
        f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = {{ env = "NOT_SET_HERE" }}\n'
        f'[delivery]\nqueue = "{queue}"\n{more}'
    )
    return ("-c", str(path))


def test_a_directory_that_is_not_there_yet_is_named_and_not_made(tmp_path: Path) -> None:
    file = configure(tmp_path, f"sqlite://{tmp_path}/queue")
    done = unitrack("queue", "stats", *file)
    assert done.exit_code == 0
    assert done.output.splitlines()[-2:] == [
        "cdp          0", f"nothing waits: there is no directory {tmp_path}/queue yet",
    ]  # fmt: skip
    seen = json.loads(unitrack("queue", "stats", "--format", "json", *file).stdout)
    assert [(one["destination"], one["messages"]) for one in seen["destinations"]] == [("cdp", 0)]
    assert seen["remarks"] == [f"there is no directory {tmp_path}/queue yet"]
    assert not (tmp_path / "queue").exists()


def test_a_fourth_slash_is_no_other_directory_and_not_shown(tmp_path: Path) -> None:
    done = unitrack("queue", "stats", *configure(tmp_path, f"sqlite:///{tmp_path}/queue"))
    assert done.output.endswith(f"\nnothing waits: there is no directory {tmp_path}/queue yet\n")


@pytest.mark.parametrize("words", [["queue", "stats"], ["dead", "list"]])
def test_a_file_in_the_place_of_a_directory_is_a_mistake(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "queue").touch()
    done = unitrack(*words, *configure(tmp_path, f"sqlite://{tmp_path}/queue"))
    assert done.exit_code == 2
    assert f"queue: {tmp_path}/queue is a file; name a directory" in done.stderr
    done = unitrack(*words, *configure(tmp_path, f"sqlite://{tmp_path}/queue/below"))
    assert (done.exit_code, "cannot be looked at: Not a directory" in done.stderr) == (2, True)


@pytest.mark.parametrize("below", ["", "/queue"])
def test_another_user_is_told_who_may_look(tmp_path: Path, below: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        become = "os.setuid(65534)"
    else:
        theirs.chmod(0)
        become = ""
    code = f"""
import os
from unitrack.queues import look_at
from unitrack.queues.sqlite import view  # which this user may read, and the next one perhaps not
from unitrack.settings import Settings
{become}
try:
    look_at(Settings(queue="sqlite://{theirs}{below}"), 0.0)
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    theirs.chmod(0o700)
    says = f"queue: {theirs}{below} must be readable by this user; run it as the user that owns it"
    assert done.stdout == f"ConfigError: {says}\n"


def test_what_waits_is_counted_without_a_vendors_secret(tmp_path: Path) -> None:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n'):
        with Client.from_config(tmp_path / "unitrack.toml", workers="external") as client:
            client.track("u", "Order Paid")
    file = configure(tmp_path, f"sqlite://{tmp_path}/queue")
    [seen] = json.loads(unitrack("queue", "stats", "--format", "json", *file).stdout)["destinations"]
    assert (seen["destination"], seen["messages"], seen["lanes"]) == ("cdp", 1, 1)
    assert seen["size"] > 0


def test_every_configured_destination_has_a_line_and_so_has_what_is_left_of_others(tmp_path: Path) -> None:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n') as receiver:
        again = {"old": Hightouch(write_key=KEY, base_url=receiver.url)}
        with Client(again, queue=f"sqlite://{tmp_path}/queue", workers="external") as client:
            client.track("u", "Order Paid")
    file = configure(tmp_path, f"sqlite://{tmp_path}/queue")
    assert [line.split()[:2] for line in unitrack("queue", "stats", *file).stdout.splitlines()[1:]] == [
        ["cdp", "0"], ["old", "1"],
    ]  # fmt: skip
    seen = json.loads(unitrack("queue", "stats", "--format", "json", *file).stdout)["destinations"]
    assert [(one["destination"], one["messages"], one["oldest"] is None) for one in seen] == [
        ("cdp", 0, True), ("old", 1, False),
    ]  # fmt: skip


def test_what_a_broker_does_not_tell_is_unknown_and_not_nought(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool"
        with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n'):
            with Client.from_config(tmp_path / "unitrack.toml", workers="external") as client:
                for number in range(8):  # in several partitions, which are added up
                    client.track(f"u{number}", "Order Paid")
        file = configure(tmp_path, url)
        done = unitrack("queue", "stats", "--format", "json", *file)
        [seen] = json.loads(done.stdout)["destinations"]
        assert (seen["messages"], seen["size"], seen["lanes"], seen["delayed_lanes"]) == (8, None, None, None)
        [_, row] = unitrack("queue", "stats", *file).stdout.splitlines()
        assert "None" not in row


def test_a_broker_that_may_lose_messages_is_looked_at_and_that_is_said(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker", keep=False) as broker:
        url = f"{broker.url}?spool={tmp_path}/spool"
        file = configure(tmp_path, url)
        done = unitrack("queue", "stats", *file)
        assert (done.exit_code, done.stdout) == (0, EMPTY)
        assert done.stderr.startswith(f"queue {broker.url}: it forgets messages when it stops; set appendonly yes")
        assert done.stderr.count("\n") == 1
        assert "it forgets messages" in unitrack("dead", "list", *file).stderr
        file = configure(tmp_path, url, "allow_unsafe_broker = true\n")
        assert unitrack("queue", "stats", *file).output == EMPTY
        assert unitrack("dead", "list", *file).output == "0 dead letters\n"


@pytest.mark.parametrize(
    ("queue", "sentence"),
    [
        ("memory", 'write "memory:"'),
        ("redis", "must be redis://host:port/db"),
        ("rediss", "must be rediss://host:port/db"),
        ("redis:host", "must be redis://host:port/db"),
        ("redis://", "name the host"),
        (f"redis://:{PASSWORD}@", "name the host"),
        ("redis://host:99999", "port 99999 is not between 1 and 65535"),
        (f"redis://u:{PASSWORD}@host:99999/0", "port 99999 is not between 1 and 65535"),
        (f"postgres://u:{PASSWORD}@x/y", "queue 'postgres:' is not known"),
        (PASSWORD, "is not known"),
        (f"{PASSWORD}@host:6379", "is not known"),
    ],
)
def test_the_wrong_text_of_a_queue_is_the_same_mistake_everywhere(tmp_path: Path, queue: str, sentence: str) -> None:
    file = configure(tmp_path, queue)
    for words in (["queue", "stats"], ["dead", "list"], ["dead", "replay", "--all"], ["worker", "--until-empty"]):
        done = unitrack(*words, *file, NOT_SET_HERE=KEY)
        assert done.exit_code == 2
        assert sentence in done.stderr, words
        assert done.stderr.count("\n") == 1
        assert PASSWORD not in done.output


def test_a_queue_in_memory_is_seen_by_its_process_only() -> None:
    with pytest.raises(ConfigError, match="their own process only"):
        look_at(Settings(queue="memory:"), 0.0)


@pytest.mark.parametrize(
    "words",
    [["track", "u", "Order Paid"], ["identify", "u"], ["check", "--live"], ["import", "rows.jsonl", "--user-id", "u"]],
)
def test_a_command_that_sends_at_once_does_not_mind_who_sends_for_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"u": "u1"}\n')
    kind = ["--kind", "identify"] if words[0] == "import" else []
    more = f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\nworkers = "external"\n'
    with vendor(tmp_path, more=more) as receiver:
        done = unitrack(*words, *kind)
    assert done.exit_code == 0, done.output
    assert len(receiver.messages) > 0
    assert "configured queue is not used" in " ".join(click.unstyle(unitrack(words[0], "--help").stdout).split())

"""The watch over pure code: it finds what reaches outside, and lets alone what does not."""

import base64
import contextlib
import datetime as dt
import gc
import gzip
import hashlib
import hmac
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from email.utils import format_datetime
from pathlib import Path
from time import monotonic
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from unitrack.testing.purity import Impure, pure
from unitrack.values import dumps

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "call",
    [
        time.time,
        time.time_ns,
        monotonic,
        time.perf_counter,
        time.localtime,
        lambda: time.sleep(0),
        lambda: datetime.now(UTC),
        lambda: dt.datetime.now(),
        date.today,
        random.random,
        lambda: random.choice([1, 2]),
        uuid.uuid1,
        uuid.uuid4,
        secrets.token_hex,
        lambda: os.urandom(1),
        lambda: open(__file__),  # noqa: SIM115, PTH123
        lambda: Path(__file__).read_bytes(),
        lambda: Path(__file__).exists(),
        os.getcwd,
        socket.socket,
        lambda: socket.getaddrinfo("127.0.0.1", 80),
        lambda: urlopen("http://127.0.0.1:9/"),
        lambda: subprocess.run([sys.executable, "-V"], check=True),
        lambda: threading.Thread(target=int).start(),
    ],
)
def test_what_reaches_outside_is_stopped_and_named(call: Callable[[], object]) -> None:
    with (
        pytest.raises(Impure, match=r"Acme.encode called [\w.]+; a provider is handed all it needs"),
        pure("Acme.encode"),
    ):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: NOON.isoformat() + f"{NOON:%Y-%m-%d}" + format_datetime(NOON, usegmt=True),
        lambda: datetime.fromtimestamp(0, UTC).astimezone(dt.timezone(dt.timedelta(hours=5))),
        lambda: datetime.fromisoformat("2026-01-15T12:00:00Z"),
        lambda: uuid.uuid5(uuid.NAMESPACE_URL, "u-42"),
        lambda: hmac.new(b"key", b"text", hashlib.sha256).hexdigest(),
        lambda: base64.b64encode(b"key:") + quote("ä ö").encode(),
        lambda: gzip.compress(b"text", 1, mtime=0),
        lambda: json.dumps(json.loads('{"a": [1.5, null]}')),
        lambda: dumps({"at": NOON, "who": "u-42"}),
        lambda: os.fspath("name"),
    ],
)
def test_what_only_computes_is_let_alone(call: Callable[[], object]) -> None:
    call()  # a first call may have to import
    with pure("Acme.encode"):
        call()


def test_a_call_that_hides_the_exception_is_found_all_the_same() -> None:
    def hides() -> None:
        with contextlib.suppress(AssertionError):
            time.time()

    with pytest.raises(Impure, match=r"called time\.time and hid it"), pure("Acme.encode"):
        hides()


def test_other_exceptions_come_through() -> None:
    with pytest.raises(ZeroDivisionError), pure("Acme.encode"):
        1 / 0  # noqa: B018


def test_a_collection_of_garbage_is_not_blamed_on_the_code() -> None:
    gc.callbacks.append(look := lambda phase, info: time.perf_counter())
    try:
        with pure("Acme.encode"):
            kept = [[index] for index in range(100_000)]
    finally:
        gc.callbacks.remove(look)
    assert kept
    assert gc.isenabled()


def test_a_profiler_of_the_users_is_put_back() -> None:
    def profiler(*_: object) -> None:
        pass

    sys.setprofile(profiler)
    try:
        with pure("Acme.encode"):
            dumps({})
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)

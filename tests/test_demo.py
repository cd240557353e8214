"""The demo ends well only if every ledger equals what its receiver counted, and the data is what its page says."""

import csv
import io
import subprocess
import sys
from decimal import Decimal
from importlib.resources import files
from itertools import groupby
from typing import Any

import pytest
from attrs import evolve
from rich.console import Console

from unitrack import Ledger
from unitrack.demo import play
from unitrack.demo.account import Account, users_and_out_of_order
from unitrack.demo.orders import BAD_ROWS, order_file
from unitrack.demo.stands import KEY, every
from unitrack.demo.view import Bars, excerpt, laid_out
from unitrack.providers import BUILT_IN
from unitrack.receivers import Taken, Tally

SAMPLE = files("unitrack").joinpath("data/cdnow_sample.csv").read_text(encoding="utf-8")
ROWS = list(csv.DictReader(io.StringIO(SAMPLE)))


@pytest.fixture(scope="module")
def played() -> tuple[int, str]:
    """The demo over the first customers, with everything that happens in the whole one: its exit code and its text."""
    console = Console(file=io.StringIO(), width=120, _environ={})
    code = play(order_file(1_200), console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_the_sample_is_what_its_page_says() -> None:
    assert len(ROWS) == 6_919
    assert len({row["customer_id"] for row in ROWS}) == 2_357
    assert (min(row["order_date"] for row in ROWS), max(row["order_date"] for row in ROWS)) == (
        "1997-01-01",
        "1998-06-30",
    )
    assert sum(int(row["cds"]) for row in ROWS) == 16_479
    amounts = [Decimal(row["amount_usd"]) for row in ROWS]
    assert (sum(amounts), min(amounts), max(amounts)) == (Decimal("244091.94"), Decimal(0), Decimal("506.97"))
    assert sum(amount == 0 for amount in amounts) == 8
    assert len(ROWS) - len({tuple(row.values()) for row in ROWS}) == 21


def test_customers_stand_together_and_their_orders_by_date() -> None:
    customers = [
        (customer, [row["order_date"] for row in rows])
        for customer, rows in groupby(ROWS, lambda row: row["customer_id"])
    ]
    assert len(customers) == 2_357
    assert all(dates == sorted(dates) for _, dates in customers)
    first = [dates[0] for _, dates in customers]
    assert (min(first), max(first)) == ("1997-01-01", "1997-03-25")


def test_every_row_of_the_file_has_its_number_and_the_bad_ones_are_among_them() -> None:
    header, *lines = order_file().decode().splitlines()
    assert header == "order_id,customer_id,order_date,cds,amount_usd"
    assert len(lines) == 6_919 + len(BAD_ROWS)
    assert [int(line.split(",")[0]) for line in lines] == list(range(1, len(lines) + 1))


def test_demo_ends_well_though_two_vendors_stumble(played: tuple[int, str]) -> None:
    code, text = played
    assert code == 0
    assert "✓ Every ledger equals what its receiver counted." in text
    assert "1 unsupported" in text
    assert "429 × 3" in text
    assert "503 × " in text
    for reason in ("'customer_id' is empty", "'1997-02-30' is no time", "'twelve' is no number", "has 3 columns"):
        assert reason in text


def test_output_that_is_no_terminal_is_plain(played: tuple[int, str]) -> None:
    _, text = played
    assert "\x1b" not in text
    assert "/s" not in text


def test_samples_hold_no_credential(played: tuple[int, str]) -> None:
    _, text = played
    assert "POST /v1/batch" in text
    assert text.count("••••") == 4
    assert KEY not in text


def test_all_vendors_get_every_message_that_they_have_a_place_for() -> None:
    console = Console(file=io.StringIO(), width=120, _environ={})
    code = play(order_file(300), console, every())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert code == 0, text
    assert "✓ Every ledger equals what its receiver counted." in text
    assert KEY not in text
    assert set(every()) == set(BUILT_IN) - {"webhook"}


def test_bars_show_how_far_each_destination_is_and_what_it_answers() -> None:
    ledgers = {"cdp": Ledger(accepted=8, delivered=6, pending=2), "chat": Ledger(accepted=8, pending=8)}
    tallies = {"cdp": Tally(answers={200: 1}), "chat": Tally(answers={200: 1, 503: 4})}
    console = Console(file=io.StringIO(), width=120, _environ={})
    console.print(Bars(10).render(ledgers, tallies))
    assert isinstance(console.file, io.StringIO)
    cdp, chat = console.file.getvalue().splitlines()
    assert cdp.split()[0::2] == ["cdp", "6", "2", "0/s"]
    assert "━" in cdp
    assert "answered 503 × 4" in chat


@pytest.mark.slow
def test_command_plays_all_of_it() -> None:
    done = subprocess.run([sys.executable, "-m", "unitrack", "demo"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Of 37,108 messages 37,107 arrived" in done.stdout


GOOD = Account(
    name="cdp",
    meant=10,
    ledger=Ledger(accepted=10, delivered=9, dead={"unsupported": 1}, requests=2, bytes_sent=500),
    tally=Tally(requests=2, bytes=500, received=9, distinct=9, answers={200: 2}),
    users=3,
    out_of_order=0,
)


def test_books_that_agree_have_no_faults() -> None:
    assert GOOD.faults == ()


@pytest.mark.parametrize(
    ("ledger", "tally", "sentence"),
    [
        ({"accepted": 11}, {}, "the ledger does not balance"),
        ({"accepted": 11, "delivered": 10}, {"received": 10, "distinct": 10}, "10 messages were meant for it"),
        ({"delivered": 8, "pending": 1}, {"received": 8, "distinct": 8}, "1 messages still wait"),
        ({}, {"received": 8, "distinct": 8}, "9 delivered, the receiver took 8"),
        ({}, {"received": 10}, "1 messages arrived twice"),
        ({}, {"refused": {"$.event is missing": 1}}, "the receiver refused 1: $.event is missing"),
        ({}, {"requests": 3}, "2 requests, the receiver saw 3"),
        ({}, {"bytes": 501}, "500 bytes, the receiver saw 501"),
    ],
)
def test_books_that_differ_say_where(ledger: dict[str, Any], tally: dict[str, Any], sentence: str) -> None:
    account = evolve(GOOD, ledger=evolve(GOOD.ledger, **ledger), tally=evolve(GOOD.tally, **tally))
    assert sentence in account.faults[0]
    assert account.faults[0].startswith("cdp: ")


def test_users_out_of_order_are_a_fault() -> None:
    assert evolve(GOOD, out_of_order=2).faults == ("cdp: the messages of 2 users are out of order",)


def customer(user: str) -> Taken:
    return Taken({"traits": {"cohort": "1997-Q1"}}, user, f"c{user}")


def order(user: str, number: int, place: str = "properties") -> Taken:
    return Taken({place: {"order_id": number}}, user, f"o{number}")


def test_order_is_judged_for_each_user_by_itself() -> None:
    taken = [customer("a"), customer("b"), order("b", 2), order("a", 1), order("b", 3, "traits")]
    assert users_and_out_of_order(taken) == (2, 0)


@pytest.mark.parametrize(
    "taken",
    [
        [customer("a"), order("a", 2), order("a", 1)],
        [order("a", 1), customer("a")],
        [customer("a"), customer("a")],
    ],
)
def test_late_early_or_repeated_message_is_out_of_order(taken: list[Taken]) -> None:
    assert users_and_out_of_order(taken) == (1, 1)


def test_excerpt_keeps_one_message_of_a_batch() -> None:
    assert excerpt({"batch": [{"n": 1}, {"n": 2}, {"n": 3}]}) == {"batch": ["… 2 more …", {"n": 3}]}
    assert excerpt([{"n": 1}]) == [{"n": 1}]


def test_json_is_laid_out_on_as_few_lines_as_fit() -> None:
    value = {"user_id": "00429", "properties": {"cds": 2, "total": 31.14}}
    assert laid_out(value, 80).count("\n") == 0
    assert laid_out(value, 44).splitlines() == [
        "{",
        '  "user_id": "00429",',
        '  "properties": {"cds": 2, "total": 31.14}',
        "}",
    ]

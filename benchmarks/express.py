"""What the two short ways of a plain track save: ``python benchmarks/express.py`` prints long and short, in turns."""

# ruff: noqa: T201  it prints

import statistics
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from unitrack.codec import pack, unpack, unpack_plain
from unitrack.express import express
from unitrack.message import Track
from unitrack.providers import Hightouch
from unitrack.snapshot import MessageIds, snapshot

PROPERTIES = {
    "order_id": "ord_0000042", "sku": "SKU-00042-XL", "category": "Apparel/Shirts", "price": 1299.5, "currency": "INR",
    "quantity": 2, "is_gift": False, "coupon": "MONSOON42", "page_url": "https://shop.example.com/p/42",
}  # fmt: skip
ROUNDS, CALLS = 15, 5_000

new_id = MessageIds()
provider = Hightouch(write_key="k")


def now() -> datetime:
    return datetime.now(UTC)


def long_way_in() -> bytes:
    return pack(snapshot(Track(user_id="user-42", event="Order Paid", properties=PROPERTIES), new_id, now)[0])


def short_way_in() -> bytes:
    plain = express("user-42", "Order Paid", PROPERTIES, new_id, now)
    assert plain is not None  # noqa: S101
    return plain[2]


RECORD = short_way_in()


def long_way_out() -> bytes:
    return provider.encode(unpack(RECORD, trusted=True)).body


def short_way_out() -> bytes:
    track = unpack_plain(RECORD, trusted=True)
    assert track is not None  # noqa: S101
    return provider.encode_plain(track).body


def compare(name: str, *ways: Callable[[], object]) -> None:
    rounds = [[timeit.timeit(way, number=CALLS) / CALLS for way in ways] for _ in range(ROUNDS)]
    long, short = (statistics.median(times) * 1e6 for times in zip(*rounds, strict=True))
    ratio = statistics.median(short / long for long, short in rounds)
    print(f"{name}: long way {long:.1f} µs, short way {short:.1f} µs, {ratio:.2f} of it")


def main() -> None:
    compare("in, from the call to the record", long_way_in, short_way_in)
    compare("out, from the record to the vendor's words", long_way_out, short_way_out)
    print(f"{ROUNDS} rounds of {CALLS:,} calls")


if __name__ == "__main__":
    main()

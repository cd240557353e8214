"""What the short way of a track saves: ``python benchmarks/express.py`` prints both, in turns."""

# ruff: noqa: T201  it prints

import statistics
import timeit
from datetime import UTC, datetime

from unitrack.codec import pack
from unitrack.express import express
from unitrack.message import Track
from unitrack.snapshot import MessageIds, snapshot

PROPERTIES = {
    "order_id": "ord_0000042", "sku": "SKU-00042-XL", "category": "Apparel/Shirts", "price": 1299.5, "currency": "INR",
    "quantity": 2, "is_gift": False, "coupon": "MONSOON42", "page_url": "https://shop.example.com/p/42",
}  # fmt: skip
ROUNDS, CALLS = 15, 5_000

new_id = MessageIds()


def now() -> datetime:
    return datetime.now(UTC)


def long_way() -> bytes:
    return pack(snapshot(Track(user_id="user-42", event="Order Paid", properties=PROPERTIES), new_id, now)[0])


def short_way() -> bytes:
    plain = express("user-42", "Order Paid", PROPERTIES, new_id, now)
    assert plain is not None  # noqa: S101
    return plain[2]


def main() -> None:
    rounds = [[timeit.timeit(way, number=CALLS) / CALLS for way in (long_way, short_way)] for _ in range(ROUNDS)]
    long, short = (statistics.median(times) * 1e6 for times in zip(*rounds, strict=True))
    ratio = statistics.median(short / long for long, short in rounds)
    print(f"long way {long:.1f} µs, short way {short:.1f} µs: {ratio:.2f} of it ({ROUNDS} rounds of {CALLS:,} calls)")


if __name__ == "__main__":
    main()

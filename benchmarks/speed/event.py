"""The one event that every client sends: eleven properties, some 300 bytes of JSON by themselves.

Each carries a mark, ``mark-00000042``, by which the sink counts it; those that only warm a client up are not counted.
"""

from collections.abc import Callable
from typing import Any

NAME = "Order Completed"
WARM_UP = "warm"

Properties = dict[str, Any]


def user_id(number: int, users: int = 5_000) -> str:
    """Return whose event this is; everybody has their turn."""
    return f"user-{number % users:06}"


def plain(number: int, mark: str = "mark") -> Properties:
    """Return what a shop would say about an order."""
    return {
        "bench_id": f"{mark}-{number:08}",
        "order_id": f"ord_{number * 7919:010}",
        "sku": f"SKU-{number % 40_000:05}-XL",
        "category": "Apparel/Shirts/Linen",
        "price": 1299.5 + number % 1000,
        "currency": "INR",
        "quantity": number % 7 + 1,
        "source": f"push_campaign_{number % 64}",
        "is_gift": number % 3 == 0,
        "coupon": f"MONSOON{number % 100:02}",
        "page_url": f"https://shop.example.com/p/{number % 40_000}?ref=mail",
    }


def nested(number: int, mark: str = "mark") -> Properties:
    """Return an order of some 2 kB with its lines inside, most of its text in other scripts than ours."""
    line = {
        "name": "हाथ से बुनी सूती कमीज़",
        "color": "घने नीले रंग में",
        "size": {"eu": 38 + number % 6, "label": "मध्यम"},
        "price": 1299.5,
        "tags": ["नया", "गर्मी", "हथकरघा"],
    }
    return {
        "bench_id": f"{mark}-{number:08}",
        "order": {
            "id": f"ord_{number * 7919:010}",
            "lines": [{**line, "sku": f"SKU-{(number + n) % 40_000:05}-XL"} for n in range(6)],
        },
        "ship_to": {"name": "पद्मा राघवन", "street": "महात्मा गांधी मार्ग १२", "city": "बेंगलुरु", "zip": "560001"},
        "note": "कृपया दरवाज़े पर घंटी न बजाएँ — बच्चा सो रहा है",
        "is_gift": number % 3 == 0,
    }


EVENTS: dict[str, Callable[..., Properties]] = {"plain": plain, "nested": nested}

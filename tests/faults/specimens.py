"""What the examples of docs/values.md mean by the names that they use.

Packages that are not installed are stood in for by classes that look the same from outside: the same module, the
same base class, the same methods.
"""

import math
from collections import deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePosixPath
from threading import Lock
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import field, frozen

from unitrack.providers import Interakt


class Plan(Enum):
    PRO = "pro"


Point = namedtuple("Point", "x y")


@dataclass
class Money:
    amount: int
    currency: str


@frozen
class Size:
    value: int
    unit: str


@frozen
class Card:
    number: str = field(repr=False)


def _pretend(module: str, name: str, *bases: type, **members: Any) -> Any:
    return type(name, bases, {"__module__": module, **members})


def _numpy() -> Any:
    def scalar(name: str, kind: str) -> Any:
        def make(self: Any, value: Any) -> None:
            self.value = value

        return _pretend(
            "numpy", name, object,
            __init__=make, dtype=SimpleNamespace(kind=kind), size=1, tolist=lambda self: self.value,
            __hash__=lambda self: hash(self.value),
        )  # fmt: skip

    return SimpleNamespace(
        int64=scalar("int64", "i"),
        float32=scalar("float32", "f"),
        float64=_pretend("numpy", "float64", float),
        bool_=scalar("bool", "b"),
        array=scalar("ndarray", "i"),
        datetime64=scalar("datetime64", "M"),
    )


def _pandas() -> Any:
    def no_time(*_: object) -> Any:
        raise ValueError("NaTType does not support utcoffset")

    timestamp = _pretend("pandas", "Timestamp", datetime, __new__=lambda cls, text: datetime.fromisoformat(text))
    missing_time = _pretend(
        "pandas._libs.tslibs.nattype", "NaTType", datetime,
        utcoffset=no_time, __ne__=lambda self, other: True, __eq__=lambda self, other: False, __hash__=None,
    )  # fmt: skip
    missing = _pretend("pandas._libs.missing", "NAType", object)
    series = _pretend("pandas", "Series", object, __init__=lambda self, items: None, to_dict=lambda self: {})
    return SimpleNamespace(Timestamp=timestamp, NaT=missing_time(1, 1, 1), NA=missing(), Series=series)


def _order() -> Any:
    return _pretend("shop.models", "Order", object, __init__=lambda self, total: None, model_dump=lambda self: {})


def _gettext_lazy() -> Any:
    promise = _pretend("django.utils.functional", "Promise", object)
    proxy = _pretend("django.utils.functional", "__proxy__", promise, __str__=lambda self: "Paid")
    return lambda text: proxy()


try:
    import numpy as np  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    np = _numpy()

try:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    pd = _pandas()

try:
    from pydantic import BaseModel  # type: ignore[import-not-found, unused-ignore]

    class Order(BaseModel):  # type: ignore[misc, unused-ignore]
        total: int
except ImportError:
    Order = _order()

try:
    from django.conf import settings  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from django.utils.translation import gettext_lazy  # type: ignore[import-not-found, import-untyped, unused-ignore]

    settings.configure(USE_I18N=False)
except ImportError:
    gettext_lazy = _gettext_lazy()

#: Everything that an example may name.
NAMES: dict[str, Any] = {
    "UTC": UTC,
    "UUID": UUID,
    "Card": Card,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "Interakt": Interakt,
    "Lock": Lock,
    "Money": Money,
    "Order": Order,
    "Plan": Plan,
    "Point": Point,
    "PurePosixPath": PurePosixPath,
    "Size": Size,
    "ZoneInfo": ZoneInfo,
    "date": date,
    "datetime": datetime,
    "deque": deque,
    "gettext_lazy": gettext_lazy,
    "math": math,
    "np": np,
    "pd": pd,
    "time": time,
    "timedelta": timedelta,
}

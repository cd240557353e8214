"""What the demo imports: real orders of a music shop, with a few rows between them that are bad on purpose."""

import csv
import io
from collections.abc import Iterable, Iterator
from importlib.resources import files

from ..importing import Cell, Row, RowMapping, Time

#: The calendar of 1997-98 repeats after 28 years; SuprSend takes times from 2022 on.
SHIFT = "28y"

HEADER = ("order_id", "customer_id", "order_date", "cds", "amount_usd")
#: Rows as they come out of real systems; ``{order}`` is the next number, ``{customer}`` the one of the row before.
BAD_ROWS = (
    "{order},,1997-02-28,1,11.77",
    "{order},   ,1997-03-02,2,25.51",
    "{order},{customer},1997-02-30,1,12.99",
    "{order},{customer},1997-04-12,1,twelve",
    "{order},{customer},1997-05-23,3,NaN",
    "{order},{customer},1997-0",
    "{order},{customer},1990-06-01,1,9.99",
)

CUSTOMERS = RowMapping(
    kind="identify",
    user_id="customer_id",
    timestamp=Time("order_date", shift=SHIFT),
    traits={"cohort": Cell(value="1997-Q1"), "first_order_usd": Cell("amount_usd", "float")},
)
ORDERS = RowMapping(
    kind="track",
    event="Order Completed",
    user_id="customer_id",
    timestamp=Time("order_date", shift=SHIFT),
    properties={
        "order_id": Cell("order_id", "int"),
        "cds": Cell("cds", "int"),
        "total": Cell("amount_usd", "float"),
        "currency": Cell(value="USD"),
    },
)


def order_file(most: int | None = None) -> bytes:
    """Return the CSV file to import: the sample's rows, numbered because it has no order number, and the bad ones.

    Args:
        most: rows of the sample; default: all 6,919.
    """
    sample = files("unitrack").joinpath("data/cdnow_sample.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(sample)))[:most]
    apart = len(rows) // (len(BAD_ROWS) + 1)
    bad = iter(BAD_ROWS)
    lines = [",".join(HEADER)]
    for number, row in enumerate(rows, start=1):
        cells = (row["customer_id"], row["order_date"], row["cds"], row["amount_usd"])
        lines.append(",".join((str(len(lines)), *cells)))
        if number % apart == 0 and (text := next(bad, None)):
            lines.append(text.format(order=len(lines), customer=row["customer_id"]))
    return "\n".join([*lines, ""]).encode()


def first_of_each(rows: Iterable[Row]) -> Iterator[Row]:
    """Leave only the first row of each customer, by which the customer becomes known."""
    known = set()
    for row in rows:
        customer = row.values.get("customer_id", "")
        if customer.strip() and customer not in known:
            known.add(customer)
            yield row

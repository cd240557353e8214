"""How users annotate their code; read by mypy --strict, never run."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_type
from uuid import UUID

import requests
from attrs import evolve

from unitrack import (
    Alias,
    Attachment,
    Client,
    Delivered,
    Destination,
    Drop,
    Group,
    Hold,
    Identify,
    InvalidMessage,
    Ledger,
    Message,
    Outcome,
    Page,
    Phone,
    Receipt,
    Rejected,
    Report,
    Retry,
    Screen,
    Track,
    Verdict,
)
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack, Webhook
from unitrack.testing import FakeTransport

client = Client(
    {
        "cdp": Hightouch(write_key="k", gzip=True),
        "whatsapp": Destination(Interakt(api_key="k"), events=["Order *"], kinds="track", sample=0.5, concurrency=8),
        "growth": Thrivestack(token="k", body="array"),
        "messages": SuprSend(workspace_key="k" * 20, workspace_secret="s"),
        "own": Webhook(url="https://shop.example/events"),
    },
    strict=True,
    linger=0.1,
)

# Calls: ids may be text, whole numbers or UUIDs; everything else has its keyword.
assert_type(client.track("u-42", "Order Paid"), Receipt)
assert_type(client.track(42, "Order Paid", {"total": 19.9}, phone="+919999999999", only=["cdp"]), Receipt)
client.track(None, "Page Left", anonymous_id=UUID(int=1), timestamp=datetime.now(UTC), message_id="m-1")
client.identify("u-42", {"email": "ada@example.com"}, phone=Phone("9999999999", country_code="+91"))
client.page("u-42", "Docs", "Python", {"url": "https://shop.example"}, context={"ip": "10.0.0.1"})
client.screen("u-42", name="Home")
client.group("u-42", "g-1", {"company_name": "Initech"}, timestamp="2024-02-29T10:20:30Z")
client.alias("anon-1", "u-42", exclude=("cdp",))
client.track("u-42", "Invoice Sent", attachments=[Attachment.from_file(Path("invoice.pdf"))], tenant_id="t")
client.track("u-42", "Order Paid", options={"whatsapp": {"tags": ["vip"]}}, idempotency_key="order-7")

client.track("u-42")  # type: ignore[call-arg]
client.track("u-42", "Order Paid", 19.9)  # type: ignore[arg-type]
client.track("u-42", "Order Paid", messageid="m-1")  # type: ignore[call-arg]
Hightouch("k")  # type: ignore[call-arg]

# Messages.
messages: list[Message] = [
    Track(user_id="u-42", event="Order Paid", properties={"total": 19.9}),
    Identify(user_id="u-42", traits={"plan": "pro"}),
    Page(user_id="u-42"),
    Screen(anonymous_id="a-1", name="Home"),
    Group(user_id="u-42", group_id="g-1"),
    Alias(previous_id="anon-1", user_id="u-42"),
]
assert_type(client.enqueue(messages[0]), Receipt)


# Results.
def explain(outcome: Outcome) -> str:
    match outcome:
        case Delivered(warnings=warnings):
            return ", ".join(warnings)
        case Retry(reason=reason) | Hold(reason=reason) | Rejected(reason=reason):
            return reason


report = client.send(messages, timeout=10)
assert_type(report, Report)
assert_type(report.verdicts[("m-1", "cdp")], Outcome)
for failed in report.failed_records:
    assert_type(failed.record, Message | None)
    assert_type(failed.code, int | None)
assert_type(client.stats()["cdp"], Ledger)
assert_type(client.stats()["cdp"].dropped["invalid"], int)
assert_type(client.flush(timeout=5), bool)


# Functions of the user's own.
def add_release(message: Message) -> Message:
    return evolve(message, context={**message.context, "release": "2024.2"})


def only_tracks(message: Message) -> Message | None:
    return message if isinstance(message, Track) else None


def note(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        assert_type(verdict.outcome, Outcome)


def warn(drops: Sequence[Drop]) -> None:
    for drop in drops:
        assert_type(drop.reason, str)


middleware: list[Callable[[Message], Message | None]] = [add_release, only_tracks]
Client({"cdp": Hightouch(write_key="k")}, middleware=middleware, on_delivery=note, on_drop=warn)
Client({"cdp": Hightouch(write_key="k")}, transport=requests.Session())
Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport([503, 200]))
assert_type(Client.from_config("unitrack.toml"), Client)
assert_type(Client.from_config({"destinations": {}}, strict=True), Client)

with Client({"cdp": Hightouch(write_key="k")}) as opened:
    assert_type(opened, Client)
    try:
        opened.track("u-42", "Order Paid", {"total": 3j})
    except InvalidMessage as error:
        assert_type(error.path, str)


async def main() -> None:
    async with Client({"cdp": Hightouch(write_key="k")}) as app:
        assert_type(await app.asend(messages), Report)
        assert_type(await app.aflush(timeout=5), bool)
        assert_type(await app.aclose(), Report)

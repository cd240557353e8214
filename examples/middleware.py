"""Functions between the call and the queue: one adds to each message, one stops some, one takes secrets out."""

from attrs import evolve

from unitrack import Client, Destination, Message
from unitrack.middleware import redact
from unitrack.providers import Hightouch
from unitrack.receivers import HightouchReceiver


def add_release(message: Message) -> Message:
    return evolve(message, context={**message.context, "release": "2024.2"})


def without_robots(message: Message) -> Message | None:
    return None if message.context.get("userAgent", "").startswith("Bot") else message


with HightouchReceiver(write_key="k1") as cdp:
    provider = Hightouch(write_key="k1", base_url=cdp.url)
    # `drop` and `redact` exist for one destination, too: here the email goes to nobody, the address not to the CDP.
    destinations = {"cdp": Destination(provider, drop=["properties.address"])}
    with Client(destinations, middleware=[add_release, without_robots, redact("properties.email")]) as client:
        client.track("u-42", "Order Paid", {"total": 19.9, "email": "ada@example.com", "address": "12 Rue X"})
        client.track("u-43", "Order Paid", {"total": 1.0}, context={"userAgent": "Bot/1.0"})
    (arrived,) = cdp.messages

print(arrived["properties"])
print(arrived["context"]["release"])
print("filtered:", client.stats()["cdp"].filtered)

# Prints:
# {'total': 19.9, 'email': '[redacted]'}
# 2024.2
# filtered: 1

"""One vendor fails three times, and the other does not notice; nothing is lost."""

from unitrack import Client
from unitrack.providers import Hightouch, Thrivestack
from unitrack.receivers import HightouchReceiver, ThrivestackReceiver

with HightouchReceiver(write_key="k1") as cdp, ThrivestackReceiver(token="k2") as growth:
    client = Client(
        {
            "cdp": Hightouch(write_key="k1", base_url=cdp.url),
            "growth": Thrivestack(token="k2", base_url=growth.url),
        }
    )
    growth.answer_next(3, status=503)
    for number in range(100):
        client.track(f"u-{number % 10}", "Order Paid", {"number": number})
    client.flush(timeout=30)

    for name, ledger in client.stats().items():
        print(f"{name}: {ledger.delivered} of {ledger.accepted} delivered, repeated: {ledger.retried > 0}")
    print("order of u-3 kept:", [m["properties"]["number"] for m in growth.messages if m["user_id"] == "u-3"])
    client.close()

# Prints:
# cdp: 100 of 100 delivered, repeated: False
# growth: 100 of 100 delivered, repeated: True
# order of u-3 kept: [3, 13, 23, 33, 43, 53, 63, 73, 83, 93]

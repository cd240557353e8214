"""Send many messages and learn what became of each of them."""

from unitrack import Client, Track
from unitrack.providers import SuprSend
from unitrack.receivers import SuprSendReceiver

with SuprSendReceiver(workspace_key="a-workspace-key-of-ours", workspace_secret="s") as suprsend:
    provider = SuprSend(workspace_key="a-workspace-key-of-ours", workspace_secret="s", base_url=suprsend.url)
    with Client({"messages": provider}) as client:
        orders = [Track(user_id=f"u-{n}", event="Order Paid", properties={"number": n}) for n in range(249)]
        orders.append(Track(user_id="u-1", event="$reserved"))
        report = client.send(orders, timeout=10)

print(report.status, f"{report.success} of {report.total}")
for failed in report.failed_records:
    print(failed.record.user_id, failed.destination, failed.error)

# Prints:
# partial 249 of 250
# u-1 messages …

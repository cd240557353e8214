"""The same client inside an event loop: calls do not block it, and what waits is awaited."""

import asyncio

from unitrack import Client, Track
from unitrack.providers import Hightouch
from unitrack.receivers import HightouchReceiver


async def checkout(client: Client, user: str) -> None:
    """Stands for a request handler; `track` returns at once."""
    client.track(user, "Order Paid", {"total": 19.9})


async def main(url: str) -> None:
    async with Client({"cdp": Hightouch(write_key="k1", base_url=url)}) as client:
        await asyncio.gather(*(checkout(client, f"u-{number}") for number in range(50)))
        print("settled:", await client.aflush(timeout=5))
        report = await client.asend([Track(user_id="u-1", event="Report Sent")], timeout=5)
        print("bulk:", report.status)


with HightouchReceiver(write_key="k1") as cdp:
    asyncio.run(main(cdp.url))
    print("arrived:", len(cdp.messages))

# Prints:
# settled: True
# bulk: success
# arrived: 51

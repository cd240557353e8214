"""A `requests.Session` of your own as transport: for proxies, client certificates, instrumentation."""

import requests

from unitrack import Client
from unitrack.providers import Hightouch
from unitrack.receivers import HightouchReceiver

with HightouchReceiver(write_key="k1") as cdp, requests.Session() as session:
    session.headers["X-Request-Source"] = "shop"
    session.hooks["response"].append(lambda answer, **_: print("answered:", answer.status_code))

    with Client({"cdp": Hightouch(write_key="k1", base_url=cdp.url)}, transport=session) as client:
        client.track("u-42", "Order Paid", {"total": 19.9})
    print("arrived:", cdp.messages[0]["event"])

# Prints:
# answered: 200
# arrived: Order Paid

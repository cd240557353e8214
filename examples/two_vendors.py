"""One call, two vendors: a customer data platform gets everything, a messenger gets orders only.

Both are played on this machine; with the vendors' real keys, leave `base_url` out.
"""

from unitrack import Client, Destination, Phone
from unitrack.providers import Hightouch, Interakt
from unitrack.receivers import HightouchReceiver, InteraktReceiver

with HightouchReceiver(write_key="k1") as cdp, InteraktReceiver(api_key="k2") as whatsapp:
    destinations = {
        "cdp": Hightouch(write_key="k1", base_url=cdp.url),
        "whatsapp": Destination(Interakt(api_key="k2", base_url=whatsapp.url), kinds=["track"], events=["Order *"]),
    }
    with Client(destinations) as client:
        ada = Phone("9999999999", country_code="+91")
        client.identify("u-42", {"email": "ada@example.com"}, phone=ada)
        client.track("u-42", "Cart Viewed")
        client.track("u-42", "Order Paid", {"total": 19.9}, phone=ada)

    print("cdp:     ", [message["type"] for message in cdp.messages])
    print("whatsapp:", [message["event"] for message in whatsapp.messages])

# Prints:
# cdp:      ['identify', 'track', 'track']
# whatsapp: ['Order Paid']

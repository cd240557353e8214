"""Look at a broker from outside, without taking part in it."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..queue import QueueView
from ._redis_address import parse
from ._redis_broker import Broker
from ._redis_line import BrokerAway, Line

#: In the place of a destination: messages of which no reader has asked for its part.
NOBODY = "(no worker yet)"


def view(url: str, now: float) -> list[QueueView]:
    """Return what waits for each destination.

    Messages are counted per stream, so those that are not meant for a destination count until its reader has passed
    them. Users are not told apart by the broker.

    Raises:
        ConfigError: the address is wrong, or the broker does not answer.
    """
    address = parse(url)
    line = Line(address, allow_unsafe=True)
    broker = Broker(line, address, "view", ttl=1.0)
    found: dict[str, QueueView] = {}
    try:
        for partition in range(address.partitions):
            stream = broker.key("p", partition)
            if line.call("EXISTS", stream):
                groups = line.call("XINFO GROUPS", stream)
                seen = [_of(line, broker, partition, group, now) for group in groups]
                for one in seen or [QueueView(NOBODY, int(line.call("XLEN", stream)))]:
                    known = found.get(one.destination)
                    found[one.destination] = one if known is None else known.plus(one)
        for letter in broker.letters(None, 0.0):
            dead = found.setdefault(letter.destination, QueueView(letter.destination)).dead
            dead[letter.reason] = dead.get(letter.reason, 0) + 1
    except BrokerAway as error:
        raise ConfigError(f"queue {address.shown}: {error}") from None
    finally:
        line.close()
    return [found[name] for name in sorted(found)]


def _of(line: Line, broker: Broker, partition: int, group: Mapping[str, Any], now: float) -> QueueView:
    name, stream = group["name"].decode(), broker.key("p", partition)
    pending = line.call("XPENDING", stream, name)
    first = pending["min"] if pending["pending"] else None
    if first is None and (rest := line.call("XRANGE", stream, b"(" + group["last-delivered-id"], "+", "COUNT", 1)):
        first = rest[0][0]
    tries = [text.split() for text in line.call("HVALS", broker.key("tries", name, partition))]
    sound = [one for one in tries if len(one) == 4]
    return QueueView(
        name,
        messages=int(pending["pending"]) + int(group.get("lag") or 0),
        oldest=None if first is None else int(first.partition(b"-")[0]) / 1000,
        delayed=sum(float(due) > now and out == b"0" for _, _, due, out in sound),
        abandoned=sum(int(abandoned) > 0 for _, abandoned, _, _ in sound),
    )

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


def view(url: str, now: float, *, allow_unsafe: bool = False) -> tuple[list[QueueView], list[str]]:
    """Return what waits for each destination, and what whoever looks should know.

    A broker that may lose messages is looked at all the same; unless that is allowed, a sentence says so.

    Messages are counted per stream, so those that are not meant for a destination count until its reader has passed
    them. The broker tells neither users nor sizes.

    Raises:
        ConfigError: the address is wrong, or the broker does not answer.
    """
    address = parse(url)
    line = Line(address, allow_unsafe=True)
    broker = Broker(line, address, "view", ttl=1.0)
    found: dict[str, QueueView] = {}
    remarks: list[str] = []
    try:
        if not allow_unsafe and (danger := line.danger()):
            remarks.append(f"queue {address.shown}: {danger}")
        for partition in range(address.partitions):
            stream = broker.key("p", partition)
            if line.call("EXISTS", stream):
                groups = line.call("XINFO GROUPS", stream)
                seen = [_of(line, broker, partition, group, now) for group in groups]
                for one in seen or [_view(NOBODY, int(line.call("XLEN", stream)))]:
                    known = found.get(one.destination)
                    found[one.destination] = one if known is None else known.plus(one)
        for letter in broker.letters(None, 0.0):
            dead = found.setdefault(letter.destination, _view(letter.destination)).dead
            dead[letter.reason] = dead.get(letter.reason, 0) + 1
    except BrokerAway as error:
        raise ConfigError(f"queue {address.shown}: {error}") from None
    finally:
        line.close()
    return [found[name] for name in sorted(found)], remarks


def _view(name: str, messages: int = 0, **seen: Any) -> QueueView:
    return QueueView(name, messages, size=None, lanes=None, delayed_lanes=None, **seen)


def _of(line: Line, broker: Broker, partition: int, group: Mapping[str, Any], now: float) -> QueueView:
    name, stream = group["name"].decode(), broker.key("p", partition)
    pending = line.call("XPENDING", stream, name)
    first = pending["min"] if pending["pending"] else None
    if first is None and (rest := line.call("XRANGE", stream, b"(" + group["last-delivered-id"], "+", "COUNT", 1)):
        first = rest[0][0]
    tries = [text.split() for text in line.call("HVALS", broker.key("tries", name, partition))]
    sound = [one for one in tries if len(one) == 4]
    return _view(
        name,
        messages=int(pending["pending"]) + int(group.get("lag") or 0),
        oldest=None if first is None else int(first.partition(b"-")[0]) / 1000,
        delayed=sum(float(due) > now and out == b"0" for _, _, due, out in sound),
        abandoned=sum(int(abandoned) > 0 for _, abandoned, _, _ in sound),
    )

"""``Client.close`` that is interrupted, and called again."""

import dis
import sys
import threading
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

from unitrack import Client
from unitrack.providers import Hightouch
from unitrack.testing import FakeTransport


class InterruptedAt:
    """Raises KeyboardInterrupt in the engine at the n-th moment at which a signal can come: after a call, in a loop."""

    def __init__(self, number: int) -> None:
        self.left = number

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.endswith("unitrack/engine.py"):
            return None
        frame.f_trace_opcodes = True
        self.left -= event == "opcode" and frame.f_lasti in moments(frame.f_code)
        if not self.left:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self.trace


@cache
def moments(code: CodeType) -> set[int]:
    steps = list(dis.get_instructions(code))
    return {
        after.offset for step, after in pairwise(steps) if step.opname.startswith(("CALL", "JUMP_BACKWARD", "RESUME"))
    }


def interrupted(client: Client, number: int) -> bool:
    at = InterruptedAt(number)
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # or Python 3.12 tells of no opcodes anywhere
    sys.settrace(at.trace)
    try:
        client.close(1.0)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_close_that_was_interrupted_anywhere_can_be_called_again() -> None:
    """Also right after the lock was taken."""
    number, hit = 1, True
    while hit:
        transport = FakeTransport()
        client = Client({"cdp": Hightouch(write_key="k")}, transport=transport, linger=60.0)
        client.track("u", "E")
        hit = interrupted(client, number)
        elsewhere = threading.Thread(target=client.close, args=(5.0,))
        elsewhere.start()
        elsewhere.join(2.0)
        assert not elsewhere.is_alive(), f"interrupted at {number}: another thread cannot close"
        assert client.close(1.0).status == "success"
        assert client.stats()["cdp"].delivered == len(transport.requests) == 1
        number += 1
    assert number > 30

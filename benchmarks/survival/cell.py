"""One client in one situation, in a process of its own: ``python cell.py PEER SITUATION ADDRESS``.

Writes facts to its standard output, one JSON object a line, as they become known; whoever started it may lose patience.
"""

# ruff: noqa: BLE001, T201  clients raise what they like; it talks through its standard output

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from peers import PEERS, Peer

EVENTS = 200
BURST = 20_000
LOAD_FORKS = 30
CHILD_LIMIT = 8.0

told: Counter[str] = Counter()


def fact(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def track(peer: Peer, numbers: range) -> None:
    for number in numbers:
        peer.track(f"mark-{number:06}")


def track_and_flush(peer: Peer, numbers: range) -> None:
    track(peer, numbers)
    peer.flush()


def flush_and_stay(peer: Peer) -> None:
    """Flush, live on until whoever started us has seen enough, and say what the callbacks heard."""
    began = time.monotonic()
    peer.flush()
    fact(flush=time.monotonic() - began)
    sys.stdin.readline()
    fact(kept=peer.kept(), **told)


def ends(peer: Peer) -> None:
    track(peer, range(EVENTS))


def sigterm(peer: Peer) -> None:
    track(peer, range(EVENTS))
    os.kill(os.getpid(), signal.SIGTERM)


def sigterm_handled(peer: Peer) -> None:
    if not peer.handle_sigterm():
        fact(nothing=True)
        os._exit(0)
    track(peer, range(EVENTS))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)  # the program goes on until it is ended


def sigkill(peer: Peer) -> None:
    track(peer, range(EVENTS))
    os.kill(os.getpid(), signal.SIGKILL)


def all_and_flush(peer: Peer) -> None:
    track(peer, range(EVENTS))
    flush_and_stay(peer)
    os._exit(0)


def close_after_all(peer: Peer) -> None:
    track(peer, range(EVENTS))
    began = time.monotonic()
    peer.close()
    fact(close=time.monotonic() - began, **told)
    os._exit(0)


def fork_first(peer: Peer) -> None:
    track(peer, range(1))
    peer.flush()
    fact(hangs=not _child_ends(lambda: track_and_flush(peer, range(1, EVENTS + 1))))
    os._exit(0)


def fork_pending(peer: Peer) -> None:
    track(peer, range(50))
    fact(hangs=not _child_ends(lambda: track_and_flush(peer, range(50, 100))))
    flush_and_stay(peer)
    os._exit(0)


def fork_load(peer: Peer) -> None:
    def load() -> None:
        while True:
            track(peer, range(1))
            peer.flush()

    for _ in range(4):
        threading.Thread(target=load, daemon=True).start()
    hanging = forks = 0
    while forks < LOAD_FORKS and hanging < 3:
        time.sleep(0.02)
        forks += 1
        hanging += not _child_ends(lambda: track_and_flush(peer, range(1, 2)))
        fact(forks=forks, hanging=hanging)
    os._exit(0)


def after_close(peer: Peer) -> None:
    track(peer, range(1))
    peer.close()
    began = time.monotonic()
    try:
        track(peer, range(1, 2))
        peer.close()
    except Exception as error:
        fact(raised=type(error).__name__)
    fact(seconds=time.monotonic() - began)
    os._exit(0)


def bad_values(peer: Peer) -> None:
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    raised = 0
    for number, value in enumerate((cycle, b"bytes", {("a", 1): 2})):
        try:
            peer.track(f"mark-{900 + number:06}", value=value)
        except Exception:
            raised += 1
        track(peer, range(number * 10, number * 10 + 10))
    fact(raised=raised)
    flush_and_stay(peer)
    os._exit(0)


def burst(peer: Peer) -> None:
    _burst(peer)
    os._exit(0)


def burst_and_close(peer: Peer) -> None:
    _burst(peer)
    began = time.monotonic()
    peer.close()
    fact(close=time.monotonic() - began)
    os._exit(0)


def _burst(peer: Peer) -> None:
    longest, raised = 0.0, 0
    for number in range(BURST):
        began = time.perf_counter()
        try:
            peer.track(f"mark-{number:06}")
        except Exception:
            raised += 1
        longest = max(longest, time.perf_counter() - began)
    fact(longest=longest, raised=raised)


def _child_ends(work: Callable[[], object]) -> bool:
    """Fork and work there; kill the child if it does not end in time."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    until = time.monotonic() + CHILD_LIMIT
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


SITUATIONS: dict[str, Callable[[Peer], None]] = {
    work.__name__: work
    for work in (
        ends, sigterm, sigterm_handled, sigkill, all_and_flush, close_after_all, fork_first, fork_pending, fork_load,
        after_close, bad_values, burst, burst_and_close,
    )
}  # fmt: skip


def main() -> None:
    name, situation, address = sys.argv[1:]
    peer = PEERS[name]()
    peer.start(address, lambda what, count: told.update({what: count}))
    fact(started=True)
    SITUATIONS[situation](peer)


if __name__ == "__main__":
    main()

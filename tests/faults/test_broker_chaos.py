"""Fault rows Q, several at once: cut lines, dead lines, a broker that is killed or frozen, drawn at random."""

import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker import BrokerServer, open_at
from tests.cutting import Cutting
from tests.faults.figures import figure
from tests.faults.vendors import enqueue_all, hightouch, tracks
from tests.faults.world import FaultServer, assert_conserved
from unitrack import Client

MESSAGES, USERS, CLIENTS = 6_000, 60, 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_Q15_all_faults_at_once(tmp_path: Path, seed: int) -> None:
    """Three processes that put and send, each on a line that is cut at random, with a broker that is killed and frozen:
    nothing is lost, each user's messages come in order, and every ledger balances."""
    with ExitStack() as stack:
        vendor = stack.enter_context(FaultServer())
        broker = stack.enter_context(BrokerServer(tmp_path / "broker", ["--appendfsync", "always"]))
        lines = [stack.enter_context(Cutting(broker.port)) for _ in range(CLIENTS)]
        clients = []
        for n, line in enumerate(lines):
            queue = open_at(line.url, tmp_path / f"spool{n}", ttl=1.0)
            clients.append(Client({"cdp": hightouch(vendor)}, queue=queue, linger=0.01, batch_size=10))
            stack.callback(clients[-1].close, 2.0)
        over = threading.Event()
        harm = threading.Thread(target=do_harm, args=(random.Random(seed), broker, lines, over))
        messages = tracks(MESSAGES, users=USERS)

        def put(which: int) -> None:
            for n, message in enumerate(messages):
                if n % USERS % CLIENTS == which:  # a user belongs to one producer
                    enqueue_all(clients[which], [message])
                    time.sleep(0.003)

        threads = [threading.Thread(target=put, args=(which,)) for which in range(CLIENTS)]
        for thread in (harm, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        harm.join()
        assert all(client.flush(60) for client in clients)
        oracle = vendor.oracle
        cuts = sum(line.cuts for line in lines)
        figure(
            f"Q15, seed {seed}, {cuts} cuts: {MESSAGES:,} accepted, {len(oracle.delivered):,} arrived, "
            f"{oracle.duplicates} twice, {oracle.order_violations()} out of order"
        )
        assert len(oracle.delivered) == MESSAGES
        assert oracle.order_violations() == 0
        for client in clients:
            assert_conserved(client, oracle)


def do_harm(dice: random.Random, broker: BrokerServer, lines: list[Cutting], over: threading.Event) -> None:
    while not over.is_set():
        line = dice.choice(lines)
        match dice.choices(("cut", "dead", "kill", "freeze"), (7, 1, 1, 1))[0]:
            case "cut":
                line.cut(b"EVALSHA", dice.randint(1, 3), keep=dice.choice([0, 0, 5, 40]))
            case "dead":
                line.silent = True
                over.wait(dice.choice([0.2, 1.6]))
                line.silent = False
            case "kill":
                broker.kill()
                over.wait(dice.choice([0.0, 0.3, 1.5]))
                broker.start()
            case _:
                broker.freeze()
                over.wait(0.3)
                broker.thaw()
        over.wait(dice.random() * 0.3)
    for line in lines:
        line.cut(b"", 0)

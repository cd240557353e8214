"""The same client under asyncio."""

import asyncio
import threading
import time

from tests.answering import Answer, Got, answering, in_turn
from unitrack import Client, Track
from unitrack.providers import Hightouch


def test_asend_aflush_and_async_with() -> None:
    async def main(url: str) -> None:
        async with Client({"cdp": Hightouch(write_key="write-key-1", base_url=url)}) as client:
            report = await client.asend([Track(user_id=f"u{i}", event="E") for i in range(150)], timeout=10)
            assert report.success == 150
            assert client.track("u", "E")
            assert await client.aflush(5)
            assert client.stats()["cdp"].delivered == 151
            assert (await client.aclose()).status == "success"

    with answering() as server:
        asyncio.run(main(server.url))
        assert len(server.messages) == 151


def test_track_and_aflush_never_block_the_loop_while_the_server_hangs() -> None:
    release = threading.Event()

    def hang(got: Got) -> Answer:
        release.wait(20)
        return Answer()

    async def main(url: str) -> float:
        worst = 0.0
        client = Client({"cdp": Hightouch(write_key="write-key-1", base_url=url)}, max_events=50, on_full="block")

        async def beat() -> None:
            nonlocal worst
            while True:
                began = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - began - 0.01)

        beating = asyncio.create_task(beat())
        for _ in range(200):
            client.track("u", "E")
        assert not await client.aflush(2)
        report = await client.asend([Track(user_id="u", event="E")], timeout=2)
        assert report.failure == 1
        beating.cancel()
        release.set()
        await client.aclose(5)
        return worst

    with answering(hang) as server:
        assert asyncio.run(main(server.url)) < 1.5


def test_a_cancelled_flush_harms_nobody_and_two_loops_share_a_client() -> None:
    with answering(in_turn(Answer(503, headers={"Retry-After": "0.3"}), Answer())) as server:
        client = Client({"cdp": Hightouch(write_key="write-key-1", base_url=server.url)})

        async def cancelled() -> None:
            client.track("u", "E")
            task = asyncio.create_task(client.aflush(10))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def again() -> bool:
            return await client.aflush(10)

        asyncio.run(cancelled())
        assert asyncio.run(again())
        assert asyncio.run(again())
        assert client.close().status == "success"

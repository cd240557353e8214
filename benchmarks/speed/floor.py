"""Not a client: the least that can be done. What a real one adds is what it costs over this.

dict, id and time → orjson on the caller's thread → SimpleQueue → sender threads → one join → a urllib3 pool. No bounds,
no retries, no hooks; 1.0 is a limit, not a target.
"""

import queue
import random
import threading
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
import urllib3

LINGER = 0.005


class Floor:
    """Sends to one address.

    Args:
        senders: threads.
        batch: events in a request at most; 1 puts each into a request of its own.
    """

    def __init__(self, url: str, *, senders: int = 1, batch: int = 100) -> None:
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._batch = batch
        self._pool = urllib3.connection_from_url(url, maxsize=senders, retries=False)
        self._path = urlsplit(url).path + ("/v1/batch" if batch > 1 else "/v1/public/track/events/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "floor/1"}
        self._put = self._done = 0
        self._all_done = threading.Condition()
        for _ in range(senders):
            threading.Thread(target=self._run, daemon=True).start()

    def encode(self, user_id: str, event: str, properties: dict[str, Any]) -> bytes:
        message = {
            "type": "track",
            "messageId": f"{random.getrandbits(128):032x}",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "userId": user_id,
            "event": event,
            "properties": properties,
            "context": {"library": {"name": "floor", "version": "1"}},
            "integrations": {},
        }
        # orjson leaves 4 kB allocated for the shortest text; a copy is as long as it says.
        return bytes(memoryview(orjson.dumps(message)))

    def put(self, encoded: bytes) -> None:
        self._put += 1
        self._queue.put(encoded)

    def flush(self) -> None:
        with self._all_done:
            while self._done < self._put:
                self._all_done.wait(0.5)

    def _run(self) -> None:
        while True:
            parts = self._take()
            if self._batch > 1:
                body = b'{"batch":[' + b",".join(parts) + b'],"sentAt":"2026-01-01T00:00:00.000Z"}'
            else:
                [body] = parts
            self._pool.urlopen("POST", self._path, body=body, headers=self._headers, retries=False, redirect=False)
            with self._all_done:
                self._done += len(parts)
                if self._done == self._put:
                    self._all_done.notify_all()

    def _take(self) -> list[bytes]:
        parts = [self._queue.get()]
        for is_last_try in (False, True):
            try:
                while len(parts) < self._batch:
                    parts.append(self._queue.get_nowait())
                break
            except queue.Empty:
                if self._batch == 1 or is_last_try:
                    break
                time.sleep(LINGER)
        return parts

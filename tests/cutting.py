"""A TCP proxy that cuts, delays and swallows what passes between a client and its broker. It speaks TLS, too."""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Self

_STEP = 0.02


class Cutting:
    """Stands in front of a port of this machine.

    Args:
        port: of what is behind it.
        tls: what clients have to speak; what is behind it never does.

    Attributes:
        delay: seconds that every answer takes longer.
        silent: nothing passes in either direction, though all connections stay.
        cuts: how many answers were cut so far.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.delay = 0.0
        self.silent = False
        self.cuts = 0
        self._behind = port
        self._word = b""
        self._left = 0
        self._keep = 0
        self._over = False
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(_STEP)
        self.port: int = self._door.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(5)
        self._door.close()

    @property
    def url(self) -> str:
        """What a client is told."""
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}/0"

    def cut(self, word: bytes, times: int, *, keep: int = 0) -> None:
        """Let requests with a word through, but cut the connection after ``keep`` bytes of the answer."""
        with self._lock:
            self._word, self._left, self._keep = word, times, keep

    def _accept(self) -> None:
        while not self._over:
            with suppress(TimeoutError):
                near, _ = self._door.accept()
                thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, near: socket.socket) -> None:
        if self._tls is not None:
            try:
                near = self._tls.wrap_socket(near, server_side=True)
            except OSError:  # the client does not like us
                near.close()
                return
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._behind), timeout=5) as far:
            doomed = False
            while not self._over:
                unread = isinstance(near, ssl.SSLSocket) and near.pending()
                ready, _, _ = select.select([near, far], [], [], 0 if unread else _STEP)
                if unread and near not in ready:
                    ready.append(near)
                if self.silent:
                    time.sleep(_STEP)
                    continue
                for one in ready:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    if one is near:
                        doomed = self._is_doomed(data) or doomed
                        far.sendall(data)
                        continue
                    if self.delay:
                        time.sleep(self.delay)
                    if doomed:
                        near.sendall(data[: self._keep])
                        self.cuts += 1
                        return
                    near.sendall(data)

    def _is_doomed(self, data: bytes) -> bool:
        with self._lock:
            if self._left and self._word in data:
                self._left -= 1
                return True
            return False

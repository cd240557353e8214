"""When a receiver answers with a fault instead of judging the request: for a time, or for a number of requests."""

from attrs import define, frozen


@frozen
class ScriptedFault:
    """The answer to give; ``retry_after`` in seconds goes into the header of that name."""

    status: int
    retry_after: float | None = None


@define
class FaultScript:
    """What was asked for; a count comes before a time."""

    _left: int = 0
    _counted: ScriptedFault = ScriptedFault(429)
    _until: float = 0.0
    _timed: ScriptedFault = ScriptedFault(503)

    def next(self, count: int, fault: ScriptedFault) -> None:
        """Let the next requests fail."""
        self._left, self._counted = count, fault

    def outage(self, until: float, fault: ScriptedFault) -> None:
        """Let every request fail that comes before ``until``, in seconds of the receiver's clock."""
        self._until, self._timed = until, fault

    def due(self, now: float) -> ScriptedFault | None:
        """Return the fault for the request that comes now, and count it."""
        if self._left:
            self._left -= 1
            return self._counted
        return self._timed if now < self._until else None

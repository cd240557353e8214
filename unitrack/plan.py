"""What a client was asked to be."""

from collections.abc import Callable, Mapping, Sequence

from attrs import Factory, frozen

from .callbacks import OnDelivery, OnDrop
from .clock import Clock
from .destination import Destination
from .middleware import Middleware
from .queue import Queue
from .settings import Settings


@frozen(kw_only=True)
class Plan:
    """Everything that a client was made with; enough to build its engine anew in another process."""

    destinations: Mapping[str, Destination]
    settings: Settings
    transport: object = None
    middleware: Sequence[Middleware] = ()
    clock: Clock = Factory(Clock)
    dice: Callable[[], float] | None = None
    on_delivery: OnDelivery | None = None
    on_drop: OnDrop | None = None
    queue: Queue | None = None
    may_block: Callable[[], bool] = lambda: True

"""Import a heavy module at its first use, without a fork catching it half done.

A child that is forked while another thread imports inherits a module that will never be finished, and every later
import of it fails. So a fork waits for the import, some tens of milliseconds once in the life of a process.
"""

import importlib

# Its hook takes the lock of all loggers, which an import may need. Of such hooks the one that was registered last
# runs first: so we wait with that lock still free, or the import that we wait for would wait for us.
import logging  # noqa: F401
import os
import threading
from contextlib import suppress
from types import ModuleType

#: Hooks of other libraries may hold what an import needs; rather a child that cannot send than a fork that hangs.
_LONGEST = 5.0

_importing = threading.RLock()


def load(name: str) -> ModuleType:
    """Import a module by its full name."""
    with _importing:
        return importlib.import_module(name)


def _before() -> None:
    _importing.acquire(timeout=_LONGEST)


def _after_in_parent() -> None:
    with suppress(RuntimeError):  # it took too long, so the lock is not ours
        _importing.release()


def _after_in_child() -> None:
    global _importing
    _importing = threading.RLock()  # whoever held it is not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

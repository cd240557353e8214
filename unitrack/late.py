"""Import a heavy module at its first use, without a fork catching it half done.

A child that is forked while another thread imports inherits a module that will never be finished, and every later
import of it fails. So a fork waits for the import, some tens of milliseconds once in the life of a process.
"""

import importlib
import os
import threading
from types import ModuleType

_importing = threading.RLock()  # the forking thread takes and releases it, in the child as well

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


def load(name: str) -> ModuleType:
    """Import a module by its full name."""
    with _importing:
        return importlib.import_module(name)

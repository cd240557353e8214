"""What a thread is in the middle of, as its stack says.

A signal handler, or a destructor, may come in the middle of any step of its own thread. A flag would tell it so as
well, but an exception that comes between two lines, such as Ctrl-C, leaves a flag as it is for ever.
"""

import sys
from types import CodeType, FrameType


def is_within(code: CodeType, owner: object) -> bool:
    """Tell whether this thread is in the middle of a method of an object."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False

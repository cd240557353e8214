"""A track with nothing but a user, a name and properties: most of what a back end has to say.

It is read from its record without a message being made of it, and a provider may have a short way to say it.
"""

from typing import Any

from attrs import define


@define(eq=False)
class PlainTrack:
    """One such track, as :func:`unitrack.codec.unpack_plain` reads it. Its caller chose neither the id nor the time."""

    user_id: str
    event: str
    message_id: str
    timestamp: str  #: in UTC, to the millisecond: ``2026-01-15T12:00:00.123Z``
    properties: Any  #: their text, for :func:`unitrack.values.dumps` to splice into an envelope

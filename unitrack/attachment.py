"""A file that travels with a message: by its URL, or read once from disk when the caller says so."""

import base64
import mimetypes
import os
import stat
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from attrs import field, frozen

from .errors import InvalidMessage

MAX_FILE_BYTES = 25 * 1024 * 1024

# O_NONBLOCK: opening a pipe would otherwise wait for its other end before we can look at what it is.
# Windows has neither that nor O_CLOEXEC, but needs O_BINARY.
_OPEN = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))


@frozen
class Attachment:
    """A file for destinations that take files (SuprSend).

    Args:
        url: ``https://`` or ``http://`` address. It is passed on; unitrack never fetches it.
        filename: the name to show; ``None`` leaves the choice to the destination.
        ignore_if_error: send the message even if the destination cannot fetch the file.
    """

    url: str | None
    filename: str | None = None
    ignore_if_error: bool = False
    content_type: str | None = field(default=None, kw_only=True)
    data: str | None = field(default=None, kw_only=True, repr=False)  #: base64 of the content

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        filename: str | None = None,
        ignore_if_error: bool = False,
        *,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> Self:
        """Read a local file now. This is the only way unitrack ever reads one.

        Args:
            path: a regular file; a device, pipe or directory is refused.
            filename: the name to show; default: the last part of ``path``.
            ignore_if_error: a file that cannot be read is left out instead of refusing the message.
            max_bytes: refuse a larger file; default 25 MiB. Destinations have smaller limits of their own.

        Raises:
            InvalidMessage: the file is missing, unreadable, not regular or too large.
        """
        name = (filename or "").strip() or Path(path).name
        try:
            content = _read_regular(path, max_bytes)
        except (OSError, ValueError) as error:
            if ignore_if_error:
                return cls(None, name, True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InvalidMessage("$.attachments", f"cannot read {os.fspath(path)!r}: {reason}") from error
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return cls(None, name, ignore_if_error, content_type=kind, data=base64.b64encode(content).decode("ascii"))


def _read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    handle = os.open(path, _OPEN)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(handle)  # fdopen would leave a folder's open
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    return content


def checked_attachments(value: object, path: str = "$.attachments") -> tuple[Attachment, ...]:
    """Return the attachments that can be sent; a file that was allowed to be missing is left out.

    Raises:
        InvalidMessage: something that is no attachment, or a URL that is not plain http or https.
    """
    if not isinstance(value, (list, tuple)):
        raise InvalidMessage(path, f"must be a list of Attachment, not {type(value).__name__}")
    kept = []
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if not isinstance(item, Attachment):
            raise InvalidMessage(here, f"must be an Attachment, not {type(item).__name__}")
        for name in ("filename", "content_type", "data"):
            part = getattr(item, name)
            if part is not None and not isinstance(part, str):
                raise InvalidMessage(f"{here}.{name}", f"must be text, not {type(part).__name__}")
        if not isinstance(item.ignore_if_error, bool):
            raise InvalidMessage(f"{here}.ignore_if_error", "must be True or False")
        if item.url is not None:
            _check_url(item.url, f"{here}.url")
        elif item.data is None:
            if not item.ignore_if_error:
                raise InvalidMessage(
                    here, "has neither a URL nor a file; use Attachment(url) or Attachment.from_file(path)"
                )
            continue
        kept.append(item)
    return tuple(kept)


def _check_url(url: object, path: str) -> None:
    if not isinstance(url, str):
        raise InvalidMessage(path, f"must be text, not {type(url).__name__}")
    if not url.isprintable() or " " in url or "\\" in url:
        raise InvalidMessage(path, "must not hold blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise InvalidMessage(path, "is not a URL") from error
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidMessage(
            path, "must be an http:// or https:// address; for a local file use Attachment.from_file(path)"
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidMessage(path, "must not carry a user name or password")

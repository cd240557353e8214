"""Where a configuration comes from: the file that was named, or the first one found in the usual places."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ..errors import ConfigError, nearest

MAX_FILE_BYTES = 1024 * 1024
MAX_SECRET_BYTES = 64 * 1024
#: Names the configuration file where no other is given.
PATH_VARIABLE = "UNITRACK_CONFIG"

# The standard library's TOML reader takes memory by the square of the parts of one dotted key: 0.8 MB kill a machine.
_MAX_KEY_PARTS = 32


@frozen
class Found:
    """A configuration as it was written, and where.

    Attributes:
        table: may hold secrets as plain text, so it is not in the repr.
        origin: for people: a path, ``pyproject.toml [tool.unitrack]``, ``a mapping``.
        path: the file, or ``None``; secret files with relative names are looked for beside it.
    """

    table: Mapping[str, Any] = field(repr=False)
    origin: str
    path: Path | None = None


def find(source: Mapping[str, Any] | str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Found | None:
    """Read the configuration that was asked for; ``None`` if there is none anywhere.

    Args:
        source: a mapping, the path of a TOML file, or ``None`` for the first of ``$UNITRACK_CONFIG``,
            ``./unitrack.toml`` and ``[tool.unitrack]`` in ``./pyproject.toml``.
        environ: the environment variables.

    Raises:
        ConfigError: a file is missing, unreadable, over 1 MiB or not TOML.
    """
    if isinstance(source, Mapping):
        return Found(source, "a mapping")
    if source is not None:
        if not isinstance(source, (str, os.PathLike)):
            raise ConfigError(f"a configuration is a mapping or the path of a TOML file, not {type(source).__name__}")
        return _read(Path(source), str(source))
    if named := environ.get(PATH_VARIABLE, "").strip():
        return _read(Path(named), f"{named} (${PATH_VARIABLE})")
    if (own := Path("unitrack.toml")).exists():
        return _read(own, str(own))
    project = Path("pyproject.toml")
    if project.exists() and "unitrack" in _parsed(project).get("tool", {}):
        return _read(project, str(project))
    return None


def _read(path: Path, origin: str) -> Found:
    table = _parsed(path)
    if path.name == "pyproject.toml":
        tools = table.get("tool", {})
        if not isinstance(tools, Mapping) or "unitrack" not in tools:
            raise ConfigError(f"{path} has no table [tool.unitrack]")
        table, origin = tools["unitrack"], f"{origin} [tool.unitrack]"
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: tool.unitrack must be a table")
    return Found(table, origin, path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = read_text(path, MAX_FILE_BYTES)
    except ConfigError as error:
        raise ConfigError(f"cannot read the configuration {error}") from error
    return parse(content, str(path))


def parse(content: str, name: str) -> dict[str, Any]:
    """Parse TOML; ``name`` is how errors call it.

    Raises:
        ConfigError: with the line where it stops being TOML; a key that stands twice is such a line.
    """
    for number, line in enumerate(content.splitlines(), 1):
        if not line.lstrip().startswith("#") and any(
            part.count(".") > _MAX_KEY_PARTS for part in re.split("[,=]", line)
        ):
            raise ConfigError(f"{name} is not read: a key with more than {_MAX_KEY_PARTS} dots (at line {number})")
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{name} is not read: it is nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{name} is not read: it holds a number with too many digits") from None


def read_text(path: Path, max_bytes: int) -> str:
    """Read a small regular file of UTF-8 text.

    Raises:
        ConfigError: beginning with the path; never with anything of the content.
    """
    try:
        # O_NONBLOCK: a pipe without a writer would otherwise hang the start of the program.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: it is not a regular file")
            content = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file{_neighbour(path)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise ConfigError(f"{path}: it is larger than {max_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # "from None": the original error carries the bytes, and this may be a secret.
        raise ConfigError(f"{path}: it is not UTF-8 text") from None


def _neighbour(path: Path) -> str:
    try:
        return nearest(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        return ""

"""The address of a broker, taken apart: what redis-py is told, what is ours, and what may be shown."""

import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from attrs import field, frozen

from ..errors import ConfigError, nearest
from ..logs import emit
from ..secret import Secret, discreet

SCHEMES = ("redis", "rediss", "unix")
_OURS = ("spool", "prefix", "partitions")
#: What redis-py takes and what cannot break what we rely on: our retries, bytes as they are.
_THEIRS = (
    *("db", "username", "password", "client_name"),
    *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval", "max_connections"),
    *("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"),
)
_NUMBERS = ("db", "socket_timeout", "socket_connect_timeout", "health_check_interval", "max_connections")
#: An address as people write it, up to its port. With an @ behind that, the port may be half of a password.
_PORT = re.compile(r"\w+://(?:[^/?#]*@)?(?:\[[^\]/?#@]*\]|[^:/?#@\[\]]+):([0-9]{1,9})(?:[/?#][^@]*)?")
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")
MOST_PARTITIONS = 256


@frozen
class Address:
    """Where a broker is and how its keys begin."""

    url: str = field(repr=False)  #: for redis-py; may hold a password
    shown: str  #: holds none
    prefix: str
    partitions: int
    spool: Path  #: where messages wait that are not in the broker yet


@discreet
def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ConfigError: it is none that this version can use.

    >>> parse("redis://:s3cr3t@broker:6379/0?prefix=shop&spool=/var/x")
    Address(shown='redis://broker:6379/0', prefix='shop', partitions=16, spool=PosixPath('/var/x/f384d829244f0d4b'))
    """
    scheme = url.partition(":")[0]
    if "sentinel" in scheme or "cluster" in scheme:
        raise ConfigError(
            f"queue {scheme + ':'!r} is not supported; say redis:// with an address that finds the master"
        )
    if scheme not in SCHEMES:
        raise ConfigError(f"queue {scheme + ':'!r} is no broker; use {', '.join(f'{s}://' for s in SCHEMES)}")
    if not url.startswith(f"{scheme}://"):
        form = "unix:///run/redis.sock?db=0" if scheme == "unix" else f"{scheme}://host:port/db"
        raise ConfigError(f"queue {scheme + ':'!r} must be {form}")
    if (found := _PORT.fullmatch(url)) and not 1 <= int(found[1]) <= 65535:
        raise ConfigError(f"queue '{scheme}://…': port {found[1]} is not between 1 and 65535")
    try:
        parts = urlsplit(url)
        port = parts.port
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        # Without its cause, which shows what it could not read: that may be half a password.
        raise _no_address(scheme) from None
    if parts.fragment:
        raise ConfigError(f"queue '{scheme}://…': nothing can follow a #; in a password write it as %23")
    if scheme == "unix":
        if len(parts.path) < 2:
            raise ConfigError("queue 'unix://…' needs the path of a socket: unix:///run/redis.sock?db=0")
        place = f"unix://{parts.path}"
    else:
        if "@" in parts.path:
            raise _no_address(scheme)
        if not (host := parts.hostname):
            raise ConfigError(f"queue '{scheme}://…' has no host; name the host: {scheme}://host:port/db")
        database = unquote(parts.path).strip("/")
        if database and not database.isdigit():
            raise ConfigError(f"queue '{scheme}://…': what follows the host must be the number of a database")
        place = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or 6379}/{database or 0}"
    options = _options(scheme, pairs)
    if scheme == "unix" and "db" in options:
        place += f"?db={options['db']}"
    ours = {name: options.pop(name) for name in _OURS if name in options}
    prefix = ours.get("prefix", "unitrack")
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError("queue: prefix must be 1 to 64 letters, digits or . _ : -")
    partitions = ours.get("partitions", "16")
    if not partitions.isdigit() or not 1 <= int(partitions) <= MOST_PARTITIONS:
        raise ConfigError(f"queue: partitions must be a whole number from 1 to {MOST_PARTITIONS}, not {partitions!r}")
    if "spool" in ours and not Path(ours["spool"]).is_absolute():
        raise ConfigError(f"queue: spool must be an absolute path, not {ours['spool']!r}")
    # Not the directory itself: who else has it as a spool, for another prefix, would bring our messages there.
    spool = Path(ours["spool"]) / _name(place, prefix) if "spool" in ours else _own_spool(place, prefix)
    query = urlencode(options, quote_via=quote)
    bare = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    return Address(Secret(bare), place, prefix, int(partitions), spool)


def _no_address(scheme: str) -> ConfigError:
    return ConfigError(f"queue '{scheme}://…' is no address; in a password write / # ? @ as %2F %23 %3F %40")


def _options(scheme: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    known = (*_OURS, *_THEIRS)
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise ConfigError(f"queue '{scheme}://…': {name!r} is no parameter{nearest(name, known)}")
        if name in options:
            raise ConfigError(f"queue '{scheme}://…': {name} is there twice")
        if name in _NUMBERS and not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ConfigError(f"queue '{scheme}://…': {name} must be a number")
        options[name] = value
    return options


def _name(place: str, prefix: str) -> str:
    return hashlib.sha256(f"{place} {prefix}".encode()).hexdigest()[:16]


def _own_spool(place: str, prefix: str) -> Path:
    """Name a directory of this user for one broker and prefix; whoever puts something there makes it."""
    name = _name(place, prefix)
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path("~/.local/state")
    try:
        folder = home.expanduser() / "unitrack" / name
        if _is_ours(folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        pass
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"unitrack-{user}" / name
    emit(logging.WARNING, "unitrack: what is not in the broker yet waits in %s; say spool= for another", folder)
    return folder


def _is_ours(folder: Path) -> bool:
    """Tell whether this user can write to a directory, or make it."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

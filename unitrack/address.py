"""The check of a base URL: https to one plain host, and nothing in it that two readers could read differently."""

import ipaddress
import re

from .errors import ConfigError

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
#: A host whose last label looks like this is read as an IPv4 address by some and as a name by others.
_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def checked_base_url(url: object, *, allow_http: bool = False) -> str:
    """Return a base URL without surrounding blanks and trailing slashes, once it is known to be sound.

    Args:
        url: what the user wrote.
        allow_http: let credentials travel unencrypted to any host; else ``http`` is for this machine only.

    Raises:
        ConfigError: saying what to write instead. The URL itself is not repeated: a password may stand in it.

    >>> checked_base_url(" https://api.example.com/v1/ ")
    'https://api.example.com/v1'
    >>> checked_base_url("http://127.0.0.1:8080")
    'http://127.0.0.1:8080'
    """
    if not isinstance(url, str):
        raise ConfigError(f"base_url must be text such as 'https://api.example.com', not {type(url).__name__}")
    text = url.strip()
    _check_characters(text)
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or not scheme:
        raise ConfigError("base_url has no scheme; write it in full, such as 'https://api.example.com'")
    if scheme not in ("https", "http"):
        # Only what is plainly a scheme is repeated; "user:password@host://" is none.
        shown = f", not {scheme}://" if scheme.isalpha() else ""
        raise ConfigError(f"base_url must start with https://{shown}")
    netloc, _, path = rest.partition("/")
    host, port = _split(netloc)
    _check_port(port)
    is_loopback = _check_host(host)
    if scheme == "http" and not (is_loopback or allow_http):
        raise ConfigError(
            "base_url must start with https://; plain http is only for a server on this machine, unless the "
            "destination says allow_http, and then credentials travel unencrypted"
        )
    if any(segment in (".", "..") for segment in path.lower().replace("%2e", ".").split("/")):
        raise ConfigError("base_url must not hold '.' or '..' as a part of its path; write the path it leads to")
    return text.rstrip("/")


def _check_characters(text: str) -> None:
    if not text:
        raise ConfigError("base_url is empty; write it in full, such as 'https://api.example.com'")
    if not text.isascii():
        raise ConfigError("base_url holds a character outside ASCII; write an international host in its xn-- form")
    if any(c <= " " or c == "\x7f" for c in text):
        raise ConfigError("base_url holds a blank, line break or control character; remove it")
    if "\\" in text:
        raise ConfigError("base_url holds a backslash; write / instead")
    if "?" in text or "#" in text:
        raise ConfigError("base_url must end before its ? or #; the provider adds what comes after")


def _split(netloc: str) -> tuple[str, str | None]:
    """Return host and port; a host in brackets keeps them."""
    if "@" in netloc:
        raise ConfigError("base_url must not hold a user or password before an @; credentials have their own settings")
    if "%" in netloc:
        raise ConfigError("base_url has a percent sign in its host; write the host in plain letters")
    if netloc.startswith("["):
        host, bracket, after = netloc.partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise ConfigError("base_url has an IPv6 address without its brackets; write it as in https://[::1]:8443")
        return host + bracket, after[1:] if after else None
    host, colon, port = netloc.partition(":")
    if not host and ":" in port:
        raise ConfigError("base_url has an IPv6 address without its brackets; write it as in https://[::1]:8443")
    return host, port if colon else None


def _check_port(port: str | None) -> None:
    if port is None:
        return
    # int() alone would take +1, 1_0 and blanks.
    if not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise ConfigError("base_url has a port outside 1 to 65535; correct it, or leave it out with its colon")


def _check_host(host: str) -> bool:
    """Refuse a host that is none; tell whether it is this machine."""
    host = host.lower()
    if not host:
        raise ConfigError("base_url has no host; write it in full, such as 'https://api.example.com'")
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1]) == ipaddress.IPv6Address("::1")
        if _LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2]):
            # Strict: 127.1, 0177.0.0.1, 0x7f.1 and 2130706433 all mean 127.0.0.1 to some resolvers.
            return ipaddress.IPv4Address(host) in _LOOPBACK
    except ValueError:
        raise ConfigError(
            "base_url has a host that is no valid address; write four decimal numbers, or a name"
        ) from None
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ConfigError("base_url has a host that is no valid name; write it in plain letters, digits, - and .")
    return host == "localhost"

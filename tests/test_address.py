"""Which base URLs are taken: https to one plain host, http to this machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.address import checked_base_url
from unitrack.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/", "https://api.example.com"),
        ("https://api.example.com/base/path//", "https://api.example.com/base/path"),
        ("  https://api.example.com\n", "https://api.example.com"),
        ("HTTPS://API.Example.com", "HTTPS://API.Example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://us-east-1.example-events.com", "https://us-east-1.example-events.com"),
        ("https://my_host.internal", "https://my_host.internal"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://203.0.113.7", "https://203.0.113.7"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("https://api.example.com/a:b@c", "https://api.example.com/a:b@c"),
        ("https://api.example.com/a%2Fb", "https://api.example.com/a%2Fb"),
        ("https://api.example.com/a..b/.well-known", "https://api.example.com/a..b/.well-known"),
    ],
)
def test_a_sound_address_is_taken(written: str, taken: str) -> None:
    assert checked_base_url(written) == taken


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        (None, "must be text"),
        (b"https://api.example.com", "must be text"),
        ("", "is empty"),
        ("   ", "is empty"),
        ("api.example.com", "has no scheme"),
        ("//api.example.com", "has no scheme"),
        ("https:/api.example.com", "has no scheme"),
        ("https:api.example.com", "has no scheme"),
        ("://api.example.com", "has no scheme"),
        ("ftp://api.example.com", "must start with https://, not ftp://"),
        ("file:///etc/passwd", "must start with https://, not file://"),
        ("gopher://api.example.com", "must start with https://"),
        ("javascript://api.example.com", "must start with https://"),
        ("http://api.example.com", "server on this machine, unless the destination says allow_http"),
        ("http://128.0.0.1", "plain http is only for a server on this machine"),
        ("http://[::2]", "plain http is only for a server on this machine"),
        ("http://[::ffff:127.0.0.1]", "plain http is only for a server on this machine"),
        ("http://localhost.evil.example", "plain http is only for a server on this machine"),
        ("http://127.0.0.1.evil.example", "plain http is only for a server on this machine"),
        ("http://0.0.0.0", "plain http is only for a server on this machine"),
        ("https://user:pa55@api.example.com", "must not hold a user or password"),
        ("https://api.x@evil", "must not hold a user or password"),
        ("https://@api.example.com", "must not hold a user or password"),
        ("http://127.0.0.1@evil.example", "must not hold a user or password"),
        ("https://api.example.com?", "must end before its ? or #"),
        ("https://api.example.com/?key=1", "must end before its ? or #"),
        ("https://api.example.com#", "must end before its ? or #"),
        ("https://evil.example#@api.example.com", "must end before its ? or #"),
        ("https://api.example.com\\@evil.example", "holds a backslash"),
        ("https:\\\\api.example.com", "holds a backslash"),
        ("https://api.exam ple.com", "holds a blank"),
        ("https://api.example.com/a b", "holds a blank"),
        ("https://api.example.com/\r\nX-Evil: 1", "holds a blank, line break"),
        ("https://api.example.com\x00", "control character"),
        ("https://api.\x7fexample.com", "control character"),
        ("https://", "has no host"),
        ("https:///path", "has no host"),
        ("https://:443", "has no host"),
        ("https://api.example.com:0", "port outside 1 to 65535"),
        ("https://api.example.com:65536", "port outside 1 to 65535"),
        ("https://api.example.com:99999999999999999999", "port outside 1 to 65535"),
        ("https://api.example.com:", "port outside 1 to 65535"),
        ("https://api.example.com:-1", "port outside 1 to 65535"),
        ("https://api.example.com:1_0", "port outside 1 to 65535"),
        ("https://api.example.com:80:80", "port outside 1 to 65535"),
        ("https://::1", "brackets"),
        ("https://[::1", "brackets"),
        ("https://[::1]443", "brackets"),
        ("https://[::1%25eth0]", "percent sign"),
        ("https://[not-an-address]", "no valid address"),
        ("https://api%2eexample%2ecom", "percent sign"),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "xn-- form"),
        ("https://api\N{IDEOGRAPHIC FULL STOP}example\N{IDEOGRAPHIC FULL STOP}com", "xn-- form"),
        ("https://\N{CYRILLIC SMALL LETTER A}pi.example.com", "xn-- form"),
        ("https://api.example.com/\N{SNOWMAN}", "outside ASCII"),
        ("https://api.example.com:\N{FULLWIDTH DIGIT EIGHT}0", "outside ASCII"),
        ("https://2130706433", "no valid address"),
        ("https://0177.0.0.1", "no valid address"),
        ("https://0x7f.0.0.1", "no valid address"),
        ("https://0x7f000001", "no valid address"),
        ("https://127.1", "no valid address"),
        ("https://256.0.0.1", "no valid address"),
        ("https://example.0x", "no valid address"),
        ("https://.example.com", "no valid name"),
        ("https://api..example.com", "no valid name"),
        ("https://api.example.com.", "no valid name"),
        ("https://-api.example.com", "no valid name"),
        ("https://api!example.com", "no valid name"),
        ("https://" + "a" * 64 + ".example.com", "no valid name"),
        ("https://" + "a." * 130 + "com", "no valid name"),
        ("https://api.example.com/../admin", "must not hold '.' or '..'"),
        ("https://api.example.com/v1/./x", "must not hold '.' or '..'"),
        ("https://api.example.com/%2E%2e/admin", "must not hold '.' or '..'"),
    ],
)
def test_an_unsound_address_is_refused_with_advice(written: object, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_base_url(written)
    assert advice in str(caught.value)
    assert str(caught.value).startswith("base_url ")


def test_http_to_any_host_needs_the_explicit_switch() -> None:
    assert checked_base_url("http://collector.internal:8080", allow_http=True) == "http://collector.internal:8080"


def test_the_switch_for_http_allows_no_other_scheme() -> None:
    with pytest.raises(ConfigError):
        checked_base_url("ftp://collector.internal", allow_http=True)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        checked_base_url("https://user:pa55word@api.example.com")
    assert "pa55word" not in str(caught.value)


@given(st.text())
def test_any_text_is_taken_or_refused_but_never_breaks(text: str) -> None:
    try:
        taken = checked_base_url("https://" + text)
    except ConfigError:
        return
    assert checked_base_url(taken) == taken


@given(st.text(alphabet="abc.:/@[]%\\?#0x1 -_\t"))
def test_what_is_taken_holds_nothing_that_readers_disagree_on(text: str) -> None:
    try:
        taken = checked_base_url("https://" + text)
    except ConfigError:
        return
    assert not set(taken) & set("\\?# \t")
    assert "@" not in taken.removeprefix("https://").partition("/")[0]

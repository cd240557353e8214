"""The rules of a configuration: where it comes from, what wins, what is refused and in which words."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from unitrack import ConfigError, Destination, Message
from unitrack.config import Client, Configuration, load, outline
from unitrack.config import reader as config_reader
from unitrack.providers import Hightouch, Interakt, find
from unitrack.settings import PER_DESTINATION, Settings
from unitrack.testing import FakeTransport
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Request, Response, secret

CANARY = "canary-9f2c"
EXAMPLE = Path(__file__).parent.parent / "examples" / "unitrack.toml"


def cdp(**settings: Any) -> dict[str, Any]:
    return {"destinations": {"cdp": {"provider": "hightouch", "write_key": "wk", **settings}}}


def reason(source: Any, environ: Mapping[str, str] = {}, **code: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(source, environ=environ, **code)
    return str(caught.value)


def provider(configuration: Configuration, name: str = "cdp") -> Any:
    return configuration.destinations[name].provider


# Where it comes from


def test_a_mapping_is_a_configuration() -> None:
    found = load(cdp(gzip=True, events=["Order *"], linger=1), environ={})
    assert provider(found) == Hightouch(write_key="wk", gzip=True)
    assert found.destinations["cdp"].events == ("Order *",)
    assert found.destinations["cdp"].overrides == {"linger": 1.0}
    assert found.settings == Settings()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path, key: str, table: str = "") -> Path:
    path.write_text(f'[{table}destinations.cdp]\nprovider = "hightouch"\nwrite_key = "{key}"\n')
    return path


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_path_is_a_configuration(folder: Path, as_type: Callable[[Path], Any]) -> None:
    assert provider(load(as_type(written(folder / "other.toml", "k")), environ={})).write_key == "k"


def test_without_a_source_the_variable_comes_first_then_unitrack_toml_then_pyproject(folder: Path) -> None:
    written(folder / "pyproject.toml", "from pyproject", "tool.unitrack.")
    assert provider(load(environ={})).write_key == "from pyproject"
    written(folder / "unitrack.toml", "from unitrack.toml")
    assert provider(load(environ={})).write_key == "from unitrack.toml"
    environ = {"UNITRACK_CONFIG": str(written(folder / "named.toml", "from the variable"))}
    assert provider(load(environ=environ)).write_key == "from the variable"


def test_a_pyproject_without_our_table_is_no_configuration(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert reason(None).startswith("there is no configuration: set UNITRACK_CONFIG")
    assert "has no table [tool.unitrack]" in reason("pyproject.toml")


def test_a_file_that_is_missing_is_named_with_the_nearest_one(folder: Path) -> None:
    written(folder / "unitrack.toml", "k")
    assert "untrack.toml: there is no such file (did you mean 'unitrack.toml'?)" in reason("untrack.toml")
    assert "gone.toml: there is no such file" in reason(None, {"UNITRACK_CONFIG": "gone.toml"})


def test_a_source_of_another_type_is_refused() -> None:
    assert "not int" in reason(7)


def test_what_is_not_toml_is_refused_with_its_line(folder: Path) -> None:
    bad = folder / "bad.toml"
    bad.write_text("[delivery]\nlinger = 1\nlinger = 2\n")
    assert reason(bad).startswith(f"{bad} is not valid TOML: ")
    assert "line 3" in reason(bad)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# " + b"x" * 1024 * 1024, "larger than 1048576 bytes"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b".".join([b"a"] * 400_000) + b" = 1", "dots (at line 1)"),
        (b"a = '\xff'", "not UTF-8"),
    ],
    ids=["large", "deep", "dotted", "binary"],
)
def test_a_file_that_would_cost_too_much_is_refused(folder: Path, content: bytes, why: str) -> None:
    (folder / "bomb.toml").write_bytes(content)
    assert why in reason(folder / "bomb.toml")


def test_a_pipe_is_refused_instead_of_waited_for(folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe.toml")
    assert "not a regular file" in reason(folder / "pipe.toml")


# Keys and types


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (cdp(write_kye="x"), "destinations.cdp.write_kye: there is no such setting (did you mean 'write_key'?)"),
        (cdp(lingr=1), "destinations.cdp.lingr: there is no such setting (did you mean 'linger'?)"),
        (cdp(queue="memory:"), "destinations.cdp.queue: there is no such setting"),
        (cdp(transport="x"), "destinations.cdp.transport: there is no such setting"),
        (
            cdp(provider="hightuch"),
            "destinations.cdp.provider: there is no provider 'hightuch' (did you mean 'hightouch'?)",
        ),
        (cdp(provider=7), "destinations.cdp.provider must be text, not a whole number"),
        ({"destinations": {"cdp": {"write_key": "k"}}}, "destinations.cdp.provider is missing"),
        ({"destinations": {"cdp": {"provider": "hightouch"}}}, "destinations.cdp.write_key is missing"),
        ({"destinations": {"cdp": 3}}, "destinations.cdp must be a table with a provider, not int"),
        ({"destinations": []}, "destinations must be a table"),
        ({"destinations": {}}, "no destination is configured"),
        ({**cdp(), "delivry": {}}, "delivry: there is no such table (did you mean 'delivery'?)"),
        (
            {**cdp(), "delivery": {"max_event": 1}},
            "delivery.max_event: there is no such setting (did you mean 'max_events'?)",
        ),
        ({**cdp(), "delivery": {"linger": -1}}, "delivery.linger must be a number of at least 0, not -1"),
        (cdp(linger=-1), "destinations.cdp.linger must be a number of at least 0, not -1"),
        (cdp(sample=2), "destinations.cdp.sample must be a share between 0 and 1"),
        (cdp(write_key=" "), "destinations.cdp.write_key is missing"),
        (cdp(base_url="http://api.example.com"), "destinations.cdp.base_url must start with https://"),
        ({"destinations": {"c.d": {"provider": "hightouch", "write_key": "k"}}}, "destinations.c.d: a name is made of"),
    ],
)
def test_a_mistake_is_named_by_its_whole_path(source: Any, sentence: str) -> None:
    assert sentence in reason(source)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"write_key": 3}, "write_key must be text, not a whole number"),
        ({"write_key": ["k"]}, "write_key must be text, not a list"),
        ({"gzip": 1}, "gzip must be true or false, not a whole number"),
        ({"gzip": "no"}, "gzip must be true or false, not text"),
        ({"auth": "basc"}, "auth must be one of 'body', 'basic' (did you mean 'basic'?)"),
        ({"auth": True}, "auth must be one of 'body', 'basic', not true or false"),
        ({"linger": "1"}, "linger must be a number, not text"),
        ({"linger": True}, "linger must be a number, not true or false"),
        ({"linger": float("nan")}, "linger must be a number, not nan or infinity"),
        ({"max_events": 1.5}, "max_events must be a whole number, not a number with a decimal point"),
        ({"max_retries": "none"}, "max_retries must be a whole number, not text"),
        ({"events": 3}, "events must be a list of text or text, not a whole number"),
        ({"events": ["a", 3]}, "events[1] must be text, not a whole number"),
        ({"kinds": ["tack"]}, "kinds: 'tack' is no kind of message (did you mean 'track'?)"),
    ],
)
def test_nothing_is_taken_for_something_else(settings: dict[str, Any], sentence: str) -> None:
    assert f"destinations.cdp.{sentence}" in reason(cdp(**settings))


def test_every_mistake_is_told_at_once() -> None:
    source = {"destinations": {"a": {"provider": "hightouch"}, "b": {"provider": "nobody"}}, "delivery": {"linger": ""}}
    lines = reason(source).splitlines()
    assert lines[0] == "a mapping:"
    assert [line.split()[0].rstrip(":") for line in lines[1:]] == [
        "delivery.linger",
        "destinations.a.write_key",
        "destinations.b.provider",
    ]


@given(st.sampled_from(sorted(PER_DESTINATION)), st.text() | st.binary() | st.lists(st.integers()) | st.none())
def test_a_wrong_value_is_always_a_config_error_or_a_sound_setting(name: str, value: Any) -> None:
    try:
        found: Configuration | str = load(cdp(**{name: value}), environ={})
    except ConfigError as error:
        found = str(error)
    if isinstance(found, str):
        assert f"destinations.cdp.{name} must be" in found
    else:
        assert found.destinations["cdp"].settings(found.settings)


# Providers of others


@frozen(kw_only=True)
class Nested:
    mode: Literal["a", "b"] = "a"
    limit: int = 3


@frozen(kw_only=True)
class Acme:
    name: ClassVar[str] = "acme"
    base_url: ClassVar[str] = "https://acme.example"
    capabilities: ClassVar[Capabilities] = Capabilities()

    api_key: str = secret()
    timeout: str = "vendor's own"
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    regions: tuple[str, ...] = ()
    nested: Nested = Nested()
    choice: int | Literal["auto"] = "auto"

    def __attrs_post_init__(self) -> None:
        if self.api_key == "boom":
            raise RuntimeError(self.api_key)

    def encode(self, message: Message) -> Part:
        return Part(path="/", body=b"{}")

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return Request(url=self.base_url, headers={}, body=b"{}")

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return [Delivered()] * len(parts)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(config_reader, "find_provider", lambda name: Acme if name == "acme" else find(name))
    return lambda **settings: {"destinations": {"x": {"provider": "acme", "api_key": "k", **settings}}}


def test_tables_lists_choices_and_nested_settings_are_structured(acme: Callable[..., dict[str, Any]]) -> None:
    source = acme(headers={"X-Key": {"env": "K"}}, regions=["eu"], nested={"mode": "b"}, choice=4)
    found = provider(load(source, environ={"K": "v"}), "x")
    assert found == Acme(api_key="k", headers={"X-Key": "v"}, regions=("eu",), nested=Nested(mode="b"), choice=4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"headers": {"X-Key": 3}}, "destinations.x.headers.X-Key must be text, not a whole number"),
        ({"headers": "X"}, "destinations.x.headers must be a table, not text"),
        ({"regions": "eu"}, "destinations.x.regions must be a list of text, not text"),
        ({"nested": {"mode": "c"}}, "destinations.x.nested.mode must be one of 'a', 'b'"),
        ({"nested": {"lmit": 3}}, "destinations.x.nested.lmit: there is no such setting (did you mean 'limit'?)"),
        ({"choice": "atuo"}, "destinations.x.choice must be a whole number or one of 'auto', not text"),
        ({"api_key": "boom"}, "destinations.x: Acme cannot be made of these settings (RuntimeError)"),
    ],
)
def test_mistakes_below_a_setting_are_named_by_their_path(
    acme: Callable[..., dict[str, Any]], settings: dict[str, Any], sentence: str
) -> None:
    said = reason(acme(**settings))
    assert sentence in said
    assert "boom" not in said


def test_a_providers_own_setting_comes_before_a_delivery_setting(acme: Callable[..., dict[str, Any]]) -> None:
    found = load(acme(timeout="theirs"), environ={})
    assert provider(found, "x").timeout == "theirs"
    assert found.destinations["x"].overrides == {}


# Secrets


def test_a_text_can_be_in_a_variable_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\r\n")
    (tmp_path / "u.toml").write_text(
        '[destinations.a]\nprovider = "hightouch"\nwrite_key = { env = "KEY" }\n'
        '[destinations.b]\nprovider = "hightouch"\nwrite_key = { file = "secret" }\nauth = { env = "AUTH" }\n'
    )
    found = load(tmp_path / "u.toml", environ={"KEY": "from a variable", "AUTH": "basic"})
    assert provider(found, "a").write_key == "from a variable"
    assert provider(found, "b") == Hightouch(write_key="from a file", auth="basic")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ({"env": "GONE"}, "write_key: the environment variable GONE is not set"),
        (
            {"file": "/nonexistent/secret"},
            "write_key: cannot read the secret file /nonexistent/secret: there is no such file",
        ),
        ({"env": "A", "file": "b"}, "write_key must be text"),
        ({"env": "A", "defualt": CANARY}, "write_key must be text, { env"),
        ({"env": 3}, "write_key: what follows 'env' must be a name"),
        ({"file": ""}, "write_key: what follows 'file' must be a name"),
        ({"file": "a\0b"}, "write_key: what follows 'file' must be a name"),
        ({}, "write_key must be text"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(reference: Any, sentence: str) -> None:
    said = reason(cdp(write_key=reference), {"A": CANARY})
    assert f"destinations.cdp.{sentence}" in said
    assert CANARY not in said


def test_only_a_whole_value_is_a_reference() -> None:
    found = load(cdp(write_key="${HOME} { env = 'HOME' }"), environ={"HOME": "x"})
    assert provider(found).write_key == "${HOME} { env = 'HOME' }"
    assert (
        provider(load(cdp(write_key={"env": "A"}), environ={"A": "{ env = 'B' }", "B": "x"})).write_key
        == "{ env = 'B' }"
    )


def test_a_reference_is_named_also_where_other_types_would_fit() -> None:
    assert "destinations.cdp.events: the environment variable GONE is not set" in reason(cdp(events={"env": "GONE"}))


def test_the_line_break_at_the_end_of_a_secret_file_is_not_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("basic\n")
    assert provider(load(cdp(auth={"file": str(tmp_path / "auth")}), environ={})).auth == "basic"


def test_a_number_cannot_be_a_reference() -> None:
    assert "destinations.cdp.linger must be a number, not a table" in reason(cdp(linger={"env": "A"}), {"A": "1"})


@pytest.mark.parametrize(
    "settings",
    [
        {"write_key": [CANARY]},
        {"write_key": {"env": CANARY + "-missing", "x": CANARY}},
        {"auth": CANARY},
        {"linger": CANARY},
        {"gzip": CANARY},
        {"base_url": f"https://user:{CANARY}@api.example.com"},
        {"write_key": CANARY, "nonsense": CANARY},
        {"write_key": CANARY, "linger": -1},
    ],
)
def test_no_error_shows_a_value_that_may_be_a_secret(settings: dict[str, Any]) -> None:
    assert CANARY not in reason(cdp(**settings))


def test_no_repr_and_no_description_shows_a_secret() -> None:
    source = {
        "destinations": {
            "cdp": {"provider": "hightouch", "write_key": CANARY},
            "hook": {"provider": "webhook", "url": f"https://x.example/{CANARY}", "headers": {"X-Key": CANARY}},
        },
        "delivery": {"queue": f"redis://user:{CANARY}@broker/0"},
    }
    found = load(source, environ={"UNITRACK_DESTINATIONS__HOOK__TOKEN": CANARY})
    shown = repr(found), str(found), str(found.describe())
    assert [text for text in shown if CANARY in text] == []
    described = found.describe()
    assert described["destinations"]["cdp"]["settings"]["write_key"] == "(set)"
    assert described["destinations"]["hook"]["settings"]["headers"] == {"X-Key": "(set)"}
    assert described["delivery"]["queue"] == "redis://(hidden)@broker/0"


def test_a_description_tells_what_is_not_default() -> None:
    found = load(cdp(events="Order *", batch_size=10, unsupported="reject"), environ={}).describe()
    assert found["origin"] == "a mapping"
    assert found["destinations"]["cdp"]["routing"] == {"events": ("Order *",)}
    assert found["destinations"]["cdp"]["delivery"] == {"batch_size": 10}


def test_a_pickle_holds_the_path_and_no_secret(tmp_path: Path) -> None:
    found = load(written(tmp_path / "u.toml", CANARY), environ={})
    pickled = pickle.dumps(found)
    assert CANARY.encode() not in pickled
    assert provider(pickle.loads(pickled)).write_key == CANARY
    changed = load(tmp_path / "u.toml", environ={}, destinations={"cdp": {"gzip": True}})
    for other in (changed, load(cdp(), environ={})):
        with pytest.raises(TypeError, match="load it from its file in the other process"):
            pickle.dumps(other)


# Environment and code


def test_a_variable_changes_one_key_and_is_read_by_its_type() -> None:
    environ = {
        "UNITRACK_DESTINATIONS__CDP__BASE_URL": "https://eu.example.com/",
        "UNITRACK_DESTINATIONS__CDP__WRITE_KEY": "0123",
        "unitrack_destinations__cdp__gzip": "true",
        "UNITRACK_DESTINATIONS__CDP__EVENTS": '["Order *", "Refund"]',
        "UNITRACK_DESTINATIONS__CDP__KINDS": "track",
        "UNITRACK_DESTINATIONS__CDP__SAMPLE": "0.5",
        "UNITRACK_DESTINATIONS__CDP__MAX_RETRIES": "3",
        "UNITRACK_DELIVERY__LINGER": "0.1",
        "UNITRACK_DELIVERY__STRICT": "true",
    }
    found = load(cdp(), environ=environ)
    assert provider(found) == Hightouch(write_key="0123", base_url="https://eu.example.com", gzip=True)
    destination = found.destinations["cdp"]
    assert (destination.events, destination.kinds, destination.sample) == (("Order *", "Refund"), ("track",), 0.5)
    assert destination.overrides == {"max_retries": 3}
    assert (found.settings.linger, found.settings.strict) == (0.1, True)


def test_a_dash_in_a_name_is_an_underscore_in_a_variable() -> None:
    source = {"destinations": {"my-CDP": {"provider": "hightouch", "write_key": "k"}}}
    found = load(source, environ={"UNITRACK_DESTINATIONS__MY_CDP__WRITE_KEY": "other"})
    assert provider(found, "my-CDP").write_key == "other"


def test_a_variable_that_could_mean_two_destinations_is_refused() -> None:
    both = {"provider": "hightouch", "write_key": "k"}
    said = reason({"destinations": {"a-b": both, "a_b": both}}, {"UNITRACK_DESTINATIONS__A_B__WRITE_KEY": "x"})
    assert "UNITRACK_DESTINATIONS__A_B__WRITE_KEY: more than one destination" in said


def test_variables_alone_can_be_a_configuration(folder: Path) -> None:
    environ = {"UNITRACK_DESTINATIONS__CDP__PROVIDER": "hightouch", "UNITRACK_DESTINATIONS__CDP__WRITE_KEY": "k"}
    found = load(environ=environ)
    assert provider(found) == Hightouch(write_key="k")
    assert found.origin == "the environment"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("UNITRACK_DESTINATIONS__CPD__GZIP", "1", "there is no destination 'cpd' (did you mean 'cdp'?)"),
        ("UNITRACK_DESTINATIONS__CDP__GZPI", "1", "(from UNITRACK_DESTINATIONS__CDP__GZPI): there is no such setting"),
        ("UNITRACK_DESTINATIONS__CDP__GZIP", "yes", "(from UNITRACK_DESTINATIONS__CDP__GZIP) must be true or false"),
        ("UNITRACK_DESTINATIONS__CDP__GZIP", "true\nx = 1", "must be true or false"),
        ("UNITRACK_DELIVERY__LINGER", "", "(from UNITRACK_DELIVERY__LINGER) must be a number"),
        ("UNITRACK_DELIVERY__LINGER", "-1", "delivery.linger (from UNITRACK_DELIVERY__LINGER) must be "),
        (
            "UNITRACK_DESTINATIONS__CDP__BASE_URL",
            "http://a.example",
            "destinations.cdp.base_url (from UNITRACK_DESTINATIONS__CDP__BASE_URL) must start with https://",
        ),
        (
            "UNITRACK_DESTINATIONS__CDP__SAMPLE",
            "2",
            "destinations.cdp.sample (from UNITRACK_DESTINATIONS__CDP__SAMPLE) must be a share",
        ),
        ("UNITRACK_DELIVERY__LINGR", "1", "there is no such setting (did you mean 'linger'?)"),
        ("UNITRACK_DELIVERY__MODE", "snyc", "must be one of 'background', 'sync' (did you mean 'sync'?)"),
        ("UNITRACK_DELIVRY__LINGER", "1", "is not understood (did you mean 'delivery'?)"),
        ("UNITRACK_DELIVERY_LINGER", "1", "joined by two underscores"),
        ("UNITRACK_LINGER", "1", "call it UNITRACK_DELIVERY__LINGER"),
        ("UNITRACK_DESTINATIONS__CDP", "1", "the form is UNITRACK_DELIVERY__SETTING"),
    ],
)
def test_a_variable_that_can_only_be_a_mistake_is_refused(variable: str, value: str, sentence: str) -> None:
    said = reason(cdp(), {variable: value})
    assert sentence in said
    assert variable in said or "provider" in said


def test_variables_that_a_scheduler_makes_are_left_alone() -> None:
    environ = {"UNITRACK_SERVICE_HOST": "10.0.0.1", "UNITRACK_PORT": "tcp://10.0.0.1:80"}
    assert load(cdp(), environ=environ).settings == Settings()


def test_the_wrong_value_of_a_variable_is_not_shown() -> None:
    assert CANARY not in reason(cdp(), {"UNITRACK_DELIVERY__LINGER": CANARY})
    assert CANARY not in repr(config_reader.Variable("X", CANARY))


def test_code_wins_over_the_environment_and_that_over_the_source() -> None:
    environ = {
        "UNITRACK_DESTINATIONS__CDP__BASE_URL": "https://env.example",
        "UNITRACK_DESTINATIONS__CDP__GZIP": "true",
    }
    found = load(cdp(base_url="https://file.example", auth="basic"), environ=environ,
                 destinations={"cdp": {"base_url": "https://code.example"}})  # fmt: skip
    expected = Hightouch(write_key="wk", base_url="https://code.example", gzip=True, auth="basic")
    assert provider(found) == expected


def test_code_can_replace_and_add_whole_destinations() -> None:
    mine = Destination(Hightouch(write_key="mine"), events=["X"])
    found = load(cdp(), environ={}, destinations={"cdp": mine, "whatsapp": Interakt(api_key="k")})
    assert found.destinations["cdp"] is mine
    assert provider(found, "whatsapp") == Interakt(api_key="k")


# The client


# What the queue needs to know


def test_an_outline_needs_no_secret_and_makes_no_provider() -> None:
    source = {
        "destinations": {"cdp": {"provider": "hightouch", "write_key": {"env": "GONE"}}, "old": {"provider": "none"}},
        "delivery": {"queue": {"env": "QUEUE"}, "linger": 1},
    }
    environ = {"QUEUE": "sqlite:///q", "UNITRACK_DESTINATIONS__MORE__PROVIDER": "webhook"}
    found = outline(source, environ=environ)
    assert found.names == ("cdp", "old", "more")
    assert found.settings == Settings(queue="sqlite:///q", linger=1)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({}, "no destination is configured"),
        ({"destinations": {"a b": {}}}, "destinations.a b: a name is made of"),
        (cdp() | {"delivery": {"queu": "memory:"}}, "did you mean 'queue'"),
        (cdp() | {"delivery": {"queue": {"env": "GONE"}}}, "delivery.queue: the environment variable GONE is not set"),
        (cdp() | {"delivry": {}}, "did you mean 'delivery'"),
    ],
)
def test_an_outline_names_the_mistakes_in_what_it_reads(source: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        outline(source, environ={})


def test_an_outline_comes_from_the_usual_places(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration"):
        outline(environ={})
    (folder / "unitrack.toml").write_text('[destinations.cdp]\nprovider = "hightouch"\n')
    assert outline(environ={}).names == ("cdp",)


def test_a_client_is_made_of_a_configuration_with_code_on_top() -> None:
    source = {**cdp(), "delivery": {"linger": 9, "max_events": 7, "debug": True}}
    with Client.from_config(source, linger=0.0, transport=FakeTransport()) as client:
        assert (client.settings.linger, client.settings.max_events, client.settings.debug) == (0.0, 7, True)
        assert client.track("u-1", "Order Paid")
        assert client.flush(5)
        assert client.stats()["cdp"].delivered == 1


def test_a_client_takes_a_configuration_that_was_loaded() -> None:
    found = load(cdp(), environ={})
    with Client.from_config(found, linger=0.5) as client:
        assert (list(client.destinations), client.settings.linger) == (["cdp"], 0.5)
    with pytest.raises(ConfigError, match=r"give its destinations to load\(\)"):
        Client.from_config(found, destinations={"two": Interakt(api_key="k")})


def test_an_unknown_argument_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="lingr"):
        Client.from_config(cdp(), lingr=1)


def test_the_example_configuration_can_be_used_as_it_stands() -> None:
    environ = {
        "HIGHTOUCH_WRITE_KEY": "k",
        "INTERAKT_API_KEY": "k",
        "THRIVESTACK_API_KEY": "k",
        "SUPRSEND_WORKSPACE_KEY": "wk_0123456789abcdefghij",
        "SUPRSEND_WORKSPACE_SECRET": "s",
    }
    assert list(load(EXAMPLE, environ=environ).destinations) == ["cdp", "whatsapp", "product", "messages"]


def test_the_page_about_configuration_shows_the_example() -> None:
    page = EXAMPLE.parent.parent / "docs" / "configuration.md"
    assert f"```toml\n{EXAMPLE.read_text()}```" in page.read_text()


@pytest.mark.parametrize("text", ["$HT_KEY", "${HT_KEY}"])
def test_a_shell_s_way_to_name_a_variable_is_no_credential(text: str) -> None:
    with pytest.raises(ConfigError, match=r'write_key must be written as \{ env = "HT_KEY" \}'):
        load({"destinations": {"cdp": {"provider": "hightouch", "write_key": text}}}, environ={"HT_KEY": "k" * 10})

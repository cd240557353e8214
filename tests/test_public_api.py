"""What users import: complete, documented, and cheap to load."""

import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import unitrack

#: The words that the documents and other people's code rely on.
PROMISED = {
    "Client", "Destination", "Track", "Identify", "Page", "Screen", "Group", "Alias", "Attachment", "Phone",
    "ConfigError", "InvalidMessage",
}  # fmt: skip
CALLS = {
    "track": ["user_id", "event", "properties"],
    "identify": ["user_id", "traits"],
    "page": ["user_id", "category", "name", "properties"],
    "screen": ["user_id", "category", "name", "properties"],
    "group": ["user_id", "group_id", "traits"],
    "alias": ["previous_id", "user_id"],
    "enqueue": ["message"],
    "send": ["messages", "timeout"],
    "flush": ["timeout"],
    "close": ["timeout"],
    "stats": [],
    "asend": ["messages", "timeout"],
    "aflush": ["timeout"],
    "aclose": ["timeout"],
    "dead_letters": ["destination"],
}
MODULES = ["unitrack", "unitrack.providers", "unitrack.receivers", "unitrack.testing"]


def public_names(module: ModuleType) -> set[str]:
    """Return what one sees of a module: no modules, nothing private, nothing special."""
    return {
        name for name in dir(module) if not name.startswith("_") and not isinstance(getattr(module, name), ModuleType)
    }


def test_the_promised_names_are_there() -> None:
    assert set(unitrack.__all__) >= PROMISED


def test_the_four_vendors_are_providers() -> None:
    from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack

    assert {p.name for p in (Hightouch, Interakt, SuprSend, Thrivestack)} <= set(names_of_providers())


def names_of_providers() -> list[str]:
    from unitrack import providers

    return list(providers.names())


def test_all_is_what_one_sees() -> None:
    assert set(unitrack.__all__) == public_names(unitrack)


@pytest.mark.parametrize("name", MODULES)
def test_every_name_is_there_once_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    things = {word: getattr(module, word) for word in module.__all__}
    assert len(things) == len(module.__all__)
    # An alias of a union is neither class nor function; it has no docstring of its own.
    classes_and_functions = {word: t for word, t in things.items() if inspect.isclass(t) or inspect.isroutine(t)}
    assert [word for word, thing in classes_and_functions.items() if not (thing.__doc__ or "").strip()] == []


def test_every_public_method_of_a_client_is_documented() -> None:
    members = inspect.getmembers(
        unitrack.Client, lambda member: inspect.isroutine(member) or isinstance(member, property)
    )
    assert [name for name, member in members if not name.startswith("_") and not inspect.getdoc(member)] == []


@pytest.mark.parametrize("call", CALLS)
def test_a_call_takes_what_the_vendors_sdks_take(call: str) -> None:
    parameters = inspect.signature(getattr(unitrack.Client, call)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert positional == CALLS[call]


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert unitrack.__version__ == version("unitrack-sdk")


def test_importing_unitrack_loads_no_http_library_and_starts_nothing() -> None:
    code = """
import sys, threading, unitrack, unitrack.providers
unitrack.providers.Hightouch(write_key="k")
slow = {"urllib3", "requests", "http.client", "click", "rich", "hypothesis", "pytest", "asyncio", "redis"}
slow |= {"cattrs", "tomllib", "importlib.metadata", "sqlite3"}
print(sorted(slow & set(sys.modules)), threading.active_count())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[] 1", "")

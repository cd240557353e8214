"""Who may know whom: the floors of the package as data, and a reader of imports that holds the code to them.

A module imports from lower floors only; modules of one floor do not know each other. So a file can be read with
nothing above it in mind, and a change in one provider, queue or policy cannot reach its neighbours.
"""

import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from attrs import frozen

PACKAGE = Path(__file__).parent.parent / "unitrack"

CLI = ("cli/*", "cli/__init__")

#: Lowest first. A name is a path in the package without ``.py``; ``*`` stands for any one module of a folder.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        *("errors", "clock", "logs", "retry", "deadline", "body", "late", "secret", "foreign"),
        *("ids", "lanes", "load", "turns", "version"),
    ),
    ("phone", "attachment", "values", "address", "failure", "headers", "steps"),
    ("message",),
    ("wire", "codec", "snapshot", "settings", "queue", "paths"),
    ("answers", "destination", "results", "sound", "position", "express", "forms"),
    ("segment_dialect",),
    # What one module of the next floor needs beside its own file; see OWNED and LATE_OURS.
    ("providers/_*", "queues/_*", "connections"),
    (
        *("providers/*", "queues/*"),
        *(
            "batching",
            "gate",
            "limiter",
            "ledger",
            "transport",
            "middleware",
            "routing",
            "waiting",
            "callbacks",
            "final_report",
        ),
    ),
    # The two tables name what stands in their folder, and nothing else does.
    ("providers/__init__", "queues/__init__", "branch", "arguments", "plan"),
    ("settlement", "replays"),
    ("intake",),
    ("delivery",),
    ("worker", "bulk"),
    ("engine",),
    ("process",),
    ("client",),
    ("config/*", "config/__init__", "signals"),
    ("__init__",),
    ("importing/*", "importing/__init__"),
    ("demo/*", "demo/__init__"),
    CLI,
    ("__main__",),
)

#: A module whose name begins with a line belongs to the neighbour whose name follows it, and to nobody else.
OWNED = "_"

#: Folders whose modules may know each other, as long as no knot comes of it.
FAMILIES = frozenset({"cli", "config", "demo", "importing", "receivers", "testing"})

#: Local stand-ins for the vendors: an independent reading of their documents, so they know nobody.
ISLAND = "receivers"
#: They look from the side: at anything below the command line. Nothing looks back.
BESIDE = "testing"

#: What every module may import beside the standard library.
DEPENDENCIES = frozenset({"attrs", "cattrs", "orjson"})

#: Who may import the others, at the top of the module.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "click": CLI,
    "rich": (*CLI, "demo/*", "demo/__init__"),
    "hypothesis": ("testing/*",),
    "pytest": ("testing/*",),
    "urllib3": ("connections",),
    "certifi": ("connections",),
    "requests": (),
}

#: What may be imported late, inside a function: optional extras, and what is slow to load and not always used.
LATE = frozenset(
    {
        "asyncio",
        "click",
        "fcntl",
        "hypothesis",
        "importlib",
        "phonenumbers",
        "pytest",
        "redis",
        "requests",
        "rich",
        "urllib3",
    }
)

#: Who imports what it is told to; its callers name the module as text, and that counts as an import of theirs.
BY_NAME = frozenset({"late"})

#: Modules of ours that may be imported late, and by whom: what a table hands out when asked, who loads the HTTP
#: library, what needs an extra.
LATE_OURS = (
    ("__main__", "cli/*"),
    ("providers/__init__", "providers/*"),
    ("queues/__init__", "queues/*"),
    ("config/__init__", "config/*"),
    ("transport", "connections"),
    ("testing/__init__", "testing/conformance"),
    ("testing/__init__", "testing/queue_conformance"),
)

MAX_LINES = 400


@frozen
class Import:
    """One import as written: where, what, and whether it stands at the top of the module."""

    line: int
    target: str  #: a module of the package (``queues/memory``), or the first word of a foreign one
    ours: bool
    late: bool
    absolute: bool = False


def test_every_import_points_down() -> None:
    assert complaints(PACKAGE) == []


@pytest.mark.parametrize(
    ("module", "code", "complaint"),
    [
        ("retry", "from .delivery import step", "retry.py:1 looks up to delivery"),
        ("answers", "from . import client", "answers.py:1 looks up to client"),
        ("batching", "from .gate import Gate", "batching.py:1 looks sideways at gate"),
        ("providers/acme", "from .other import Other", "providers/acme.py:1 looks sideways at providers/other"),
        ("providers/acme", "from ..queue import Queue\nfrom ..client import Client", "providers/acme.py:2 looks up"),
        ("providers/acme", "from ._other_answers import read", "providers/acme.py:1 looks at providers/_other_answers"),
        ("queues/memory", "from ..providers import find", "queues/memory.py:1 looks up to providers/__init__"),
        ("answers", "from . import Client", "answers.py:1 looks up to __init__"),
        ("answers", "import unitrack.errors", "answers.py:1 imports unitrack by its absolute name"),
        ("answers", "from unitrack.client import Client", "answers.py:1 imports unitrack by its absolute name"),
        ("answers", "def f():\n    from .errors import nearest", "answers.py:2 imports errors late"),
        ("answers", "def f():\n    import json", "answers.py:2 imports json late"),
        (
            "answers",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .client import Client",
            "answers.py:3 looks up to client",
        ),
        ("answers", "if True:\n    from .errors import nearest", "answers.py:2 imports errors late"),
        ("answers", "import importlib\nimportlib.import_module('.client', 'unitrack')", "answers.py:2 imports by name"),
        ("answers", "from .late import load\nload('unitrack.errors')", "answers.py:2 imports errors late"),
        ("answers", "from .late import load\nload('unitrack.cli')", "answers.py:2 imports cli/__init__ late"),
        ("answers", "m = __import__(name)", "answers.py:1 imports by name"),
        ("transport", "def send():\n    from .errors import nearest", "transport.py:2 imports errors late"),
        ("answers", "import yaml", "answers.py:1 imports yaml, which is no dependency"),
        ("answers", "import urllib3", "answers.py:1 needs urllib3 as soon as it is imported"),
        ("config/files", "import click", "config/files.py:1 needs click as soon as it is imported"),
        ("client", "from .testing import FakeTransport", "client.py:1 looks at testing"),
        ("cli/main", "from ..testing.transports import FakeTransport", "cli/main.py:1 looks at testing/transports"),
        ("testing/tools", "from ..cli import main", "testing/tools.py:1 looks up to cli/__init__"),
        ("receivers/acme", "from ..answers import outcome_of", "receivers/acme.py:1 leaves the island"),
        ("nobody", "", "nobody.py stands on no floor"),
        ("deep/er/one", "", "deep/er/one.py stands on no floor"),
        ("answers", "x = 1\n" * (MAX_LINES + 1), "answers.py has 401 lines"),
    ],
)
def test_a_planted_fault_is_named(tmp_path: Path, module: str, code: str, complaint: str) -> None:
    plant(tmp_path, {module: code})
    (found,) = complaints(tmp_path)
    assert found.startswith(complaint)


def test_a_knot_inside_a_family_is_named(tmp_path: Path) -> None:
    plant(tmp_path, {"cli/a": "from .b import y", "cli/b": "from .c import z", "cli/c": "from . import a"})
    assert complaints(tmp_path) == ["cli/a.py knows itself: cli/a -> cli/b -> cli/c -> cli/a"]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("answers", "import json\nfrom .wire import Outcome\nfrom .errors import nearest"),
        ("providers/other", "from ._other_answers import read"),
        ("providers/_other_bulk", "from ._other_answers import read"),
        ("transport", "def send():\n    import urllib3"),
        ("transport", "from .late import load\ndef send():\n    load('unitrack.connections')"),
        ("late", "import importlib\ndef load(name):\n    importlib.import_module(name)"),
        ("providers/__init__", "def __getattr__(name):\n    from .acme import Acme"),
        ("cli/main", "import click\nfrom .progress import bar\nfrom ..client import Client\nfrom .. import Client"),
        ("testing/tools", "import pytest\nfrom .. import Client\nfrom ..providers import find"),
        ("receivers/acme", "from .server import serve\nimport http.server"),
    ],
)
def test_what_points_down_is_let_through(tmp_path: Path, module: str, code: str) -> None:
    plant(tmp_path, {module: code})
    assert complaints(tmp_path) == []


def test_every_floor_is_inhabited() -> None:
    modules = list(modules_of(PACKAGE))
    empty = [name for floor in FLOORS for name in floor if not any(stands_for(name, module) for module in modules)]
    assert empty == [], "the list above names what does not exist"


# The reader.


NEIGHBOURS = """
    __init__ errors late wire answers retry gate queue connections delivery client
    providers/__init__ providers/_other_answers providers/acme providers/other
    testing/__init__ testing/transports cli/__init__ cli/progress receivers/server
"""


def plant(root: Path, files: Mapping[str, str]) -> None:
    """Write modules beside empty ones, so that every import in them means a module."""
    names = {*NEIGHBOURS.split(), *files}
    for name in names:
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(files.get(name, "")))


def complaints(root: Path) -> list[str]:
    """Say what in a package breaks the rules: one sentence each, led by the file."""
    modules = set(modules_of(root))
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module in sorted(modules):
        text = (root / f"{module}.py").read_text(encoding="utf-8")
        if floor_of(module) is None:
            found.append(f"{module}.py stands on no floor; add it to FLOORS")
        if (lines := len(text.splitlines())) > MAX_LINES:
            found.append(f"{module}.py has {lines} lines, more than {MAX_LINES}; look for a second noun in it")
        tree = ast.parse(text)
        imports = list(imports_of(module, tree, modules))
        found.extend(f"{module}.py:{one.line} {fault}" for one in imports if (fault := fault_of(module, one)))
        if module not in BY_NAME:
            found.extend(
                f"{module}.py:{line} imports by name; write an import that can be read" for line in calls(tree)
            )
        graph[module] = {one.target for one in imports if one.ours}
    return found + list(knots(graph))


def modules_of(root: Path) -> Iterator[str]:
    for file in root.rglob("*.py"):
        if "__pycache__" not in file.parts:
            yield file.relative_to(root).with_suffix("").as_posix()


def stands_for(name: str, module: str) -> bool:
    if name.endswith("*") and module.endswith("/__init__"):
        return False
    return fnmatchcase(module, name) and name.count("/") == module.count("/")


def floor_of(module: str) -> float | None:
    """Return how high a module stands: the island at the bottom, the testing tools half a floor below the cli."""
    family = module.partition("/")[0]
    if family == ISLAND:
        return -1
    if family == BESIDE:
        return FLOORS.index(CLI) - 0.5
    return next((n for n, floor in enumerate(FLOORS) if any(stands_for(name, module) for name in floor)), None)


def fault_of(module: str, one: Import) -> str | None:
    if one.absolute:
        return "imports unitrack by its absolute name; a relative import shows the floor"
    if not one.ours:
        return foreign_fault(module, one)
    if one.late and not any(module == who and stands_for(what, one.target) for who, what in LATE_OURS):
        return f"imports {one.target} late; import it at the top, or move what it is needed for"
    family, other = module.partition("/")[0], one.target.partition("/")[0]
    if family == other and family in FAMILIES:
        return None
    if family == ISLAND:
        return f"leaves the island: receivers know nobody, not even {one.target}"
    if other == BESIDE:
        return f"looks at {one.target}; nothing in the package may lean on its testing tools"
    if is_of_one_house(module, one.target):
        return None
    if is_owned_by_another(module, one.target):
        return f"looks at {one.target}, which belongs to another module"
    mine, theirs = floor_of(module), floor_of(one.target)
    if mine is None or theirs is None or theirs < mine:
        return None
    return f"looks sideways at {one.target}" if theirs == mine else f"looks up to {one.target}"


def is_owned_by_another(module: str, target: str) -> bool:
    folder, _, name = target.rpartition("/")
    if not name.startswith(OWNED) or name.startswith("__"):
        return False
    neighbour, _, mine = module.rpartition("/")
    return folder != neighbour or not name.startswith(OWNED + mine.removeprefix(OWNED))


def is_of_one_house(module: str, target: str) -> bool:
    """Whether two modules belong to the same neighbour: ``queues/_redis_line`` and ``queues/_redis_broker``."""
    (folder, _, mine), (other, _, theirs) = module.rpartition("/"), target.rpartition("/")
    owned = mine.startswith(OWNED) and theirs.startswith(OWNED) and not theirs.startswith("__")
    return folder == other and owned and mine.split(OWNED)[1] == theirs.split(OWNED)[1]


def foreign_fault(module: str, one: Import) -> str | None:
    if one.late:
        return None if one.target in LATE else f"imports {one.target} late; import it at the top"
    if one.target in EXTRAS:
        if any(stands_for(name, module) for name in EXTRAS[one.target]):
            return None
        return f"needs {one.target} as soon as it is imported; import it where it is used, and say why"
    if one.target in sys.stdlib_module_names | DEPENDENCIES:
        return None
    return f"imports {one.target}, which is no dependency"


def imports_of(module: str, tree: ast.Module, modules: set[str]) -> Iterator[Import]:
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                # They cost nothing at run time, so they may stand apart; they are knowledge all the same.
                top |= {id(inner) for inner in node.body}
            case ast.Import(names=names):
                for name in names:
                    word = name.name.partition(".")[0]
                    yield Import(node.lineno, word, False, id(node) not in top, absolute=word == "unitrack")
            case ast.ImportFrom(level=0, module=name):
                word = (name or "").partition(".")[0]
                yield Import(node.lineno, word, False, id(node) not in top, absolute=word == "unitrack")
            case ast.ImportFrom(level=level, module=name, names=names):
                for target in sorted(targets_of(module, level, name, [n.name for n in names], modules)):
                    yield Import(node.lineno, target, True, id(node) not in top)
            case ast.Call(args=[ast.Constant(value=str(text)), *_]) if text.startswith("unitrack."):
                path = text.removeprefix("unitrack.").replace(".", "/")
                if target := next((m for m in (path, f"{path}/__init__") if m in modules), None):
                    yield Import(node.lineno, target, True, late=True)


def targets_of(module: str, level: int, name: str | None, words: list[str], modules: set[str]) -> set[str]:
    """Resolve ``from ..a import b, c``: the modules ``a/b`` and ``a/c`` where they exist, else the module ``a``."""
    base = [*module.split("/")[:-level], *(name.split(".") if name else [])]
    found = set()
    for word in words:
        choices = ("/".join([*base, word]), "/".join([*base, word, "__init__"]), "/".join(base))
        found.add(next((choice for choice in choices if choice in modules), "/".join([*base, "__init__"])))
    return found


def calls(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="__import__" | "import_module")):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr="import_module")):
                yield node.lineno


def knots(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Tell of a way on which a module reaches itself."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring = error.args[1][:0:-1]
        start = ring.index(min(ring))
        ring = ring[start:] + ring[:start]
        yield f"{ring[0]}.py knows itself: {' -> '.join([*ring, ring[0]])}"

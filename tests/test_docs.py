"""The documents are true: their code runs, their links lead somewhere, their tables are fresh."""

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import fields

from unitrack.cli.app import cli
from unitrack.cli.capabilities import markdown
from unitrack.cli.reference import reference
from unitrack.config import load
from unitrack.providers import BUILT_IN
from unitrack.results import DEAD_REASONS
from unitrack.settings import PER_DESTINATION, Settings
from unitrack.transport import Urllib3Transport
from unitrack.wire import Response

from .pages import ROOT, Block, anchors, between, blocks, links, pages, table, title
from .test_architecture import FLOORS

PAGES = pages()
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FAKE = "fake-secret-for-the-documents"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages run in an empty folder, so that what they write is gone and what they read, they wrote."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("UNITRACK_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def calls_abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection that would leave this machine, and say so at the end."""
    found: list[str] = []
    with stay_here(monkeypatch, found):
        yield
    assert found == [], "use a local receiver, a FakeTransport, or mark the block: <!-- no-run: why -->"


@contextlib.contextmanager
def stay_here(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> Iterator[None]:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            found.append(address[0])
            raise ConnectionRefusedError("the documents' code does not leave this machine")
        connect(self, address)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket, "getaddrinfo", _only_here(socket.getaddrinfo, found))
        yield


def _only_here(look_up: Any, found: list[str]) -> Any:
    def guarded(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", None):
            found.append(str(host))
            raise socket.gaierror("the documents' code does not leave this machine")
        return look_up(host, *args, **options)

    return guarded


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=title)
def test_the_code_on_a_page_runs_and_prints_what_the_page_shows(
    page: Path, monkeypatch: pytest.MonkeyPatch, calls_abroad: None
) -> None:
    fake_environment(page, monkeypatch)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    try:
        for block in blocks(page):
            if block.language == "python" and block.marker != "no-run":
                with monkeypatch.context() as patch:
                    if block.marker == "offline":
                        patch.setattr(Urllib3Transport, "send", lambda *_: Response(status=200))
                    printed = run(block, namespace)
            elif block.marker == "output":
                assert same(block.text, printed), f"{block.place} shows\n{block.text}\nbut it prints\n{printed}"
    finally:
        for thing in list(namespace.values()):
            if type(thing).__module__.startswith("unitrack") and hasattr(thing, "close"):
                thing.close()


def test_a_block_is_left_out_or_kept_offline_only_for_a_reason() -> None:
    marked = [b for page in PAGES for b in blocks(page) if b.marker in ("no-run", "offline")]
    assert [b.place for b in marked if not b.reason] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=title)
def test_the_toml_on_a_page_is_toml_and_its_destinations_can_be_made(page: Path) -> None:
    for block in blocks(page, "toml"):
        if block.marker != "no-run":
            found = tomllib.loads(block.text)
            if "destinations" in found:
                load(found, environ=dict.fromkeys(re.findall(r'env *= *"(\w+)"', block.text), FAKE))


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page) if not leads_somewhere(page, target)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        found = [(page.parent / target.partition("#")[0]).resolve() for target in links(page) if "://" not in target]
        waiting += [target for target in found if target.suffix == ".md" and target.exists() and target not in seen]
    assert [title(page) for page in PAGES if page not in seen] == []


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_commands_and_their_options_on_a_page_exist(page: Path) -> None:
    unitrack = cli.make_context("unitrack", [], resilient_parsing=True)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for block in blocks(page, "console", "sh", "bash", "shell"):
        for line in block.text.splitlines():
            match shlex.split(line.removeprefix("$ "), comments=True):
                case ["unitrack", word, *words] if not word.startswith("-"):
                    assert word in cli.commands, f"{block.place}: there is no `unitrack {word}`"
                    command, context = cli.commands[word], unitrack
                    if isinstance(command, click.Group):
                        assert words[0] in command.commands, f"{block.place}: there is no `unitrack {word} {words[0]}`"
                        context = click.Context(command, info_name=word, parent=unitrack)
                        command, word, words = command.commands[words[0]], words[0], words[1:]
                    parser = command.make_parser(click.Context(command, info_name=word, parent=context))
                    parser.parse_args(words)  # raises for an option that is none
                case ["make", word, *_]:
                    assert word in targets, f"{block.place}: there is no `make {word}`"


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_an_example_runs(example: Path, elsewhere: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)], cwd=elsewhere, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("unitrack: ")] == []
    assert same(shown_output(example), done.stdout), done.stdout


# What the tests above lean on.


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("True\n", "True\n", True),
        ("took … ms", "took 3 ms", True),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("True", "False", False),
        ("1 delivered", "1 delivered, 1 dead", False),
        ("", "something", False),
    ],
)
def test_an_output_is_compared_as_a_whole(shown: str, printed: str, alike: bool) -> None:
    assert same(shown, printed) is alike


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    page = ROOT / "README.md"
    found = {target: leads_somewhere(page, target) for target in ("docs/why.md", "docs/whi.md", "#why", "#whi")}
    assert found == {"docs/why.md": True, "docs/whi.md": False, "#why": True, "#whi": False}


def test_the_code_on_a_page_cannot_leave_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    with stay_here(monkeypatch, found), socket.socket() as here, pytest.raises(OSError, match="does not leave"):
        here.connect(("192.0.2.1", 443))
    with stay_here(monkeypatch, found), pytest.raises(OSError, match="does not leave"):
        socket.create_connection(("api.example", 443), timeout=1)
    assert found == ["192.0.2.1", "api.example"]


def fake_environment(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a value to every variable that a page names: ``{ env = "NAME" }``, ``os.environ["NAME"]``."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"""env\s*=\s*"(\w+)"|environ\[["'](\w+)["']\]""", text):
        monkeypatch.setenv(name[0] or name[1], FAKE)


def run(block: Block, namespace: dict[str, Any]) -> str:
    """Execute a block; a traceback shows the line on the page. Return what it printed."""
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec", dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue()


def same(shown: str, printed: str) -> bool:
    """Compare an output with what a page shows; ``…`` there stands for anything."""
    pattern = ".*?".join(re.escape(piece) for piece in "\n".join(map(str.rstrip, shown.splitlines())).split("…"))
    return re.fullmatch(pattern.strip(), "\n".join(map(str.rstrip, printed.splitlines())).strip(), re.S) is not None


def shown_output(example: Path) -> str:
    """Return what an example says it prints: the comment lines at its end, after ``# Prints:``."""
    told = example.read_text(encoding="utf-8").partition("\n# Prints:\n")[2]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in told.splitlines())


def leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


# Tables and lists that repeat what the code says.


def test_the_table_of_settings_is_the_settings() -> None:
    rows = {row[0].strip("`"): row for row in table(ROOT / "docs" / "delivery.md", "setting")}
    told = {name: (ast_value(row[1]), row[2] == "yes") for name, row in rows.items()}
    assert told == {field.name: (field.default, field.name in PER_DESTINATION) for field in fields(Settings)}


def test_the_table_of_reasons_has_every_reason_of_a_dead_letter() -> None:
    told = {word for row in table(ROOT / "docs" / "delivery.md", "reason") for word in re.findall(r"`(\w+)`", row[0])}
    assert set(DEAD_REASONS) <= told


def test_the_floors_in_concepts_are_those_of_the_architecture_test() -> None:
    shown = between(ROOT / "docs" / "concepts.md", "<!-- generated: floors -->", "<!-- end -->")
    assert shown == f"```text\n{floors_as_text()}\n```"


def test_the_table_of_providers_is_fresh() -> None:
    shown = between(ROOT / "docs" / "providers" / "index.md", "<!-- generated: providers -->", "<!-- end -->")
    assert shown == markdown().strip(), "paste what `unitrack providers --format markdown` prints"


def test_the_reference_of_the_command_line_is_fresh() -> None:
    shown = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert shown.strip() == reference().strip(), "python -m unitrack.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_provider_has_a_page_that_the_table_leads_to(name: str) -> None:
    assert (ROOT / "docs" / "providers" / f"{name}.md").exists()
    assert f"{name}.md" in set(links(ROOT / "docs" / "providers" / "index.md"))


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [need for extra in project["project"]["optional-dependencies"].values() for need in extra]
    rows = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text(encoding="utf-8").splitlines()
    told = {word for row in rows if row.startswith("|") for word in re.findall(r"[\w-]+", row)}
    assert {re.split(r"[<>=\[ ]", need)[0] for need in wanted} - told == set()


def ast_value(cell: str) -> object:
    return eval(cell.strip("`"), {"__builtins__": {}})


def floors_as_text() -> str:
    """Draw the floors, top first, with long ones on several lines."""
    width, lines = 100, []
    for number, floor in reversed(list(enumerate(FLOORS))):
        names = "   ".join(sorted(floor))
        lines += textwrap.wrap(names, width, initial_indent=f"{number:2}  ", subsequent_indent="    ")
    return "\n".join(lines)

"""The walk through adding a provider, taken: its files are written, its commands run, its outputs compared."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from attrs import frozen

PAGE = Path(__file__).parent.parent / "docs" / "adding-a-provider.md"
MOST_LINES = 80

#: A fenced block whose first line may name a file: ```python acme_unitrack.py
_BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<file>[\w.]+))?\n(?P<text>.*?)^```$", re.S | re.M)


@frozen
class Step:
    language: str
    file: str | None
    text: str


def steps() -> list[Step]:
    return [Step(found["language"], found["file"], found["text"]) for found in _BLOCK.finditer(PAGE.read_text("utf-8"))]


def test_the_walk_goes_as_the_page_shows(tmp_path: Path) -> None:
    undo: dict[Path, str] = {}
    ran = 0
    for step in steps():
        if step.language == "console":
            for command, shown in commands(step.text):
                printed = run(command, tmp_path)
                assert matches(shown, printed), f"$ {command}\n{printed}\n-- but the page shows:\n{shown}"
                ran += 1
            for path, text in undo.items():
                path.write_text(text)
            undo = {}
        elif step.language == "diff":
            path = tmp_path / (step.file or "")
            undo[path] = path.read_text()
            path.write_text(changed(undo[path], step.text))
        elif step.file is not None:
            (tmp_path / step.file).write_text(step.text)
    assert ran == 6


def test_the_provider_and_its_tests_stay_within_eighty_lines() -> None:
    files = {step.file: step.text for step in steps() if step.language in {"python", "json"}}
    assert sum(len(text.splitlines()) for text in files.values()) <= MOST_LINES


def test_the_package_says_which_module_is_its_own_so_that_a_test_beside_it_does_no_harm() -> None:
    """Setuptools looks for modules itself where none is named, and refuses a folder with two."""
    [text] = [step.text for step in steps() if step.file == "pyproject.toml"]
    found = tomllib.loads(text)
    [entry] = found["project"]["entry-points"]["unitrack.providers"].values()
    assert found["tool"]["setuptools"]["py-modules"] == [entry.partition(":")[0]]


def test_the_walk_passes_the_linter(tmp_path: Path) -> None:
    for step in steps():
        if step.language == "python":
            (tmp_path / (step.file or "")).write_text(step.text)
    config = PAGE.parent.parent / "pyproject.toml"
    ruff = [sys.executable, "-m", "ruff", "check", "--config", config, "--ignore", "I001,S101,RUF012", tmp_path]
    done = subprocess.run(ruff, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a block with the output shown under it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, shown = found.pop()
            found.append((command, f"{shown}{line}\n"))
    return found


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    if program == "pip":
        announce(folder)
        return ""
    python = [sys.executable, "-B", *(["-m", "pytest", "-p", "no:cacheprovider"] if program == "pytest" else [])]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "COV", "UNITRACK", "CI", "BUILD_NUMBER"))
    }
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80"}
    done = subprocess.run(
        [*python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    return done.stdout + done.stderr


def announce(folder: Path) -> None:
    """Leave what ``pip install -e .`` leaves for others to find; the real one would go to a package index."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    about = folder / "acme_unitrack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups]
    (about / "entry_points.txt").write_text("".join(lines))


def changed(text: str, diff: str) -> str:
    lines = diff.splitlines()
    old = "\n".join(line[1:] for line in lines if line.startswith("-"))
    new = "\n".join(line[1:] for line in lines if line.startswith("+"))
    assert text.count(old) == 1
    return text.replace(old, new)


def matches(shown: str, printed: str) -> bool:
    """Compare outputs: an ellipsis stands for anything, and nobody's seconds are another's."""
    pattern = ".*?".join(re.escape(piece) for piece in without_seconds(shown).split("…"))
    return re.fullmatch(pattern, without_seconds(printed), re.S) is not None


def without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d\ds", "N s", text).strip()


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("1 passed in 0.52s\n", "1 passed in 1.99s", True),
        ("1 passed in 0.52s", "2 passed in 0.52s", False),
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
    ],
)
def test_outputs_are_compared_with_care(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same

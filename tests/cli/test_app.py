"""What all commands have in common: errors as sentences, exit codes, no traceback, nothing without the extra."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

import unitrack as package
from unitrack.cli import app, providers
from unitrack.cli.app import cli

from .running import finished, started, unitrack


def test_the_version_is_told() -> None:
    assert unitrack("--version").stdout == f"unitrack {package.__version__}\n"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_a_command_has_a_help_and_an_example(name: str) -> None:
    result = unitrack(name, "--help")
    assert result.exit_code == 0
    command = cli.commands[name]
    assert (command.epilog or "").startswith(f"Example: unitrack {name}")
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


def test_a_wrong_command_is_a_sentence_and_exit_code_2() -> None:
    result = unitrack("chek")
    assert result.exit_code == 2
    assert "No such command 'chek'" in result.stderr


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> str:
        raise KeyError("canary-secret")

    monkeypatch.setattr(providers.capabilities, "data", explode)


@pytest.mark.usefixtures("failing")
def test_a_mistake_of_ours_is_a_sentence_too_and_quotes_nothing() -> None:
    result = unitrack("providers", "--format", "json")
    assert result.exit_code == 2
    assert "KeyError: this should not have happened" in result.stderr
    assert "canary-secret" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("failing")
def test_a_traceback_can_be_asked_for() -> None:
    assert isinstance(unitrack("--traceback", "providers", "--format", "json").exception, KeyError)
    assert isinstance(unitrack("providers", "--format", "json", UNITRACK_TRACEBACK="1").exception, KeyError)


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(providers.capabilities, "data", interrupt)
    assert unitrack("providers", "--format", "json").exit_code == app.INTERRUPTED == 130


def test_a_configuration_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    code, out, err = finished(started(tmp_path, "check"))
    assert (code, out) == (2, "")
    assert err.startswith("Error: there is no configuration: set UNITRACK_CONFIG")
    code, out, err = finished(started(tmp_path, "check", "--config", "gone.toml"))
    assert (code, out, err) == (2, "", "Error: cannot read the configuration gone.toml: there is no such file\n")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from unitrack.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    expected = "The command line needs two more packages: pip install 'unitrack-sdk[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_the_library_needs_neither_click_nor_rich() -> None:
    code = (
        "import sys, unitrack, unitrack.config, unitrack.importing; print(sorted({'click', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")

"""Run the checks under every supported Python: ``nox``, or one of them: ``nox -s tests-3.13``."""

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
# A machine rarely has all three; what is not on the PATH is skipped here and run where it is.
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]

# pyenv puts a python3.13 on the PATH that answers only where this version is switched on; so switch ours on.
_versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
_installed = [folder.name for version in PYTHONS for folder in sorted(_versions.glob(f"{version}.*"))]
if _installed:
    os.environ.setdefault("PYENV_VERSION", ":".join(_installed))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; further arguments go to pytest."""
    session.install("-e", ".[cli,dev]")
    session.run("pytest", "-q", *(session.posargs or ["-n", "2", "-m", "not slow"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check the rules and the format."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHONS)
def types(session: nox.Session) -> None:
    """Check the types as each Python sees them."""
    session.install("-e", ".[cli,dev]")
    session.run("mypy", "--python-version", str(session.python))

"""One virtual environment for each client, below ``benchmarks/.venv``: made when first asked for, and then kept."""

# ruff: noqa: S603, T201  it starts pip, and says so

import json
import subprocess
from functools import cache
from pathlib import Path

from .pins import ENVIRONMENTS, TREE

HERE = Path(__file__).parent


def interpreter(name: str, base: str) -> Path:
    """Return the interpreter of an environment, made with the pinned versions if it is not there.

    Args:
        name: of the environment, a key of ``ENVIRONMENTS``.
        base: the Python whose environment is wanted; it needs pip.
    """
    version = _version(base)
    folder = HERE / ".venv" / version.split()[-1] / name
    found, stamp = folder / "bin" / "python", folder / "made-for"
    wanted = ENVIRONMENTS[name]
    made_for = "\n".join([*wanted, version])
    install = [base, "-m", "pip", "--python", str(found), "install", "--quiet", "--disable-pip-version-check"]
    if not stamp.exists() or stamp.read_text() != made_for:
        print(f"making the environment of {name}", flush=True)
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        subprocess.run([*install, *wanted], check=True, stderr=subprocess.DEVNULL)
        stamp.write_text(made_for)
    elif trees := [one for one in wanted if one.startswith(str(TREE))]:
        # The working tree as it is now, and not as it may change during the run.
        subprocess.run([*install, "--force-reinstall", "--no-deps", *trees], check=True, stderr=subprocess.DEVNULL)
    return found


def packages(python: Path) -> dict[str, str]:
    """Return the version of everything that is installed in an environment."""
    listing = "{d.name.lower(): d.version for d in m.distributions()}"
    code = f"import importlib.metadata as m, json; print(json.dumps({listing}))"
    told = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(told)
    return found


@cache
def _version(base: str) -> str:
    return subprocess.run([base, "--version"], capture_output=True, text=True, check=True).stdout.strip()

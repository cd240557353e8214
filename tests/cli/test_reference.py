"""The page about the command line is what the commands say of themselves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from unitrack import Client
from unitrack.cli.app import cli
from unitrack.cli.reference import reference
from unitrack.testing import FakeTransport
from unitrack.wire import Response

from .running import unitrack, vendor

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run: python -m unitrack.cli.reference > docs/cli.md"


def keys(found: Any) -> set[str]:
    """Return the keys of data; below names of destinations and reasons, which the user chose, and of messages not."""
    if isinstance(found, list):
        return set().union(*map(keys, found))
    if not isinstance(found, dict):
        return set()
    below = [found[name] for name in ("verdicts", "reasons", "remarks") if name in found]
    destinations = found.get("destinations", [])
    below.append(list(destinations.values()) if isinstance(destinations, dict) else destinations)
    return set(found) | keys(below)


@pytest.mark.parametrize(
    "words",
    ["check", "check --live", "track u-1 E", "identify u-1", "providers", "dead list", "dead show m-1", "queue stats",
     "import rows.jsonl --kind identify --user-id u",
     "import rows.jsonl --kind identify --user-id u --dry-run"],
)  # fmt: skip
def test_the_page_names_every_key_of_the_json(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"u": "u1"}\n{}\n')
    refusing = FakeTransport(lambda request: Response(status=400))
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n'):
        with Client.from_config(transport=refusing) as client:
            client.track("u", "E", message_id="m-1")
            assert client.flush(10)
        found = keys(json.loads(unitrack(*words.split(), "--format", "json").stdout))
    command = " ".join(words.split()[: 2 if words.split()[0] in ("dead", "queue") else 1])
    section = PAGE.read_text().partition(f"## unitrack {command}\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section.partition("Keys of `--format json`: ")[2].partition("\n")[0]))
    assert found
    assert found <= named


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_option_is_on_the_page(name: str) -> None:
    section = PAGE.read_text().partition(f"## unitrack {name}\n")[2].partition("\n## ")[0]
    assert [
        p.opts for p in cli.commands[name].params if p.param_type_name == "option" and p.opts[-1] not in section
    ] == []

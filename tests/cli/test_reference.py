"""The page about the command line is what the commands say of themselves."""

from pathlib import Path

import pytest

from unitrack.cli.app import cli
from unitrack.cli.reference import reference

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run: python -m unitrack.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_option_is_on_the_page(name: str) -> None:
    section = PAGE.read_text().partition(f"## unitrack {name}\n")[2].partition("\n## ")[0]
    assert [
        p.opts for p in cli.commands[name].params if p.param_type_name == "option" and p.opts[-1] not in section
    ] == []

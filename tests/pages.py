"""Reads Markdown as the tests of the documents need it: fenced blocks with their markers, links, headings."""

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```\s*$", re.S | re.M)
_COMMENT = re.compile(r"<!--\s*(?P<marker>[\w-]+)(?::\s*(?P<reason>(?:(?!-->).)*?))?\s*-->\s*\Z", re.S)
_LINK = re.compile(r"\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?[^)\n]*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)


@frozen
class Block:
    """One fenced block. ``marker`` is the name in a comment right above it: ``output``, ``no-run`` or ``offline``."""

    page: Path
    line: int  #: of the first line inside
    language: str
    text: str
    marker: str | None
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every document for people, in a fixed order."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page, of these languages if any are named."""
    found = []
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        above = _COMMENT.search(text[: fence.start()])
        indent = len(fence["indent"])
        body = "".join(line[indent:] if line.strip() else line for line in fence["text"].splitlines(keepends=True))
        found.append(
            Block(
                page,
                text.count("\n", 0, fence.start("text")) + 1,
                fence["language"],
                body,
                above["marker"] if above else None,
                above["reason"] if above else None,
            )
        )
    return [block for block in found if not languages or block.language in languages]


def links(page: Path) -> Iterator[str]:
    """Return the targets of a page's links and pictures, without those inside blocks of code."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))
    yield from _LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Return the words by which a page's headings are linked, as GitHub makes them."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower().replace(" ", "-")
        for heading in _HEADING.findall(prose)
    }


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the table under the row of titles that begins with ``heading``, without their backticks."""
    rows: list[list[str]] | None = None
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if rows is None:
            rows = [] if cells and cells[0] == heading else None
        elif not cells:
            break
        elif not set(cells[0]) <= set("-: "):
            rows.append(cells)
    return rows or []


def between(page: Path, begin: str, end: str) -> str:
    """Return the text between two comments of a page."""
    text = page.read_text(encoding="utf-8")
    return text.split(begin, 1)[1].split(end, 1)[0].strip()

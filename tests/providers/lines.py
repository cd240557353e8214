"""How long each provider is: ``python -m tests.providers.lines`` prints lines of code, and the median.

Counted are lines that hold code: no blank ones, no comments, no docstrings. The test that every provider must have is
its conformance class; what is special to a vendor is tested beside it, and its odder rules (members, answers) stand in
private neighbours of the module, both at whatever length the vendor has.
"""

# ruff: noqa: T201  it prints

import ast
import io
import statistics
import tokenize
from collections.abc import Iterable
from pathlib import Path

from unitrack.providers import BUILT_IN

TESTS = Path(__file__).parent
PROVIDERS = TESTS.parent.parent / "unitrack" / "providers"
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str, within: Iterable[ast.AST] | None = None) -> int:
    """Count the lines of code in a module, or in some parts of it."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    if within is not None:
        lines &= {line for node in within for line in range(node.lineno, (node.end_lineno or 0) + 1)}  # type: ignore[attr-defined]
    return len(lines - docs)


def module_lines(name: str) -> tuple[int, int]:
    """Return the lines of a provider's module, and of its private neighbours."""
    own = code_lines((PROVIDERS / f"{name}.py").read_text("utf-8"))
    return own, sum(code_lines(file.read_text("utf-8")) for file in PROVIDERS.glob(f"_{name}_*.py"))


def test_lines(name: str) -> int:
    """Return the lines of the first conformance class in a provider's test."""
    source = (TESTS / f"test_{name}.py").read_text("utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return code_lines(source, classes[:1])


def main() -> None:
    print("| provider | module with its test | neighbours | in all |\n| --- | --: | --: | --: |")
    short, whole = [], []
    for name in BUILT_IN:
        (own, beside), test = module_lines(name), test_lines(name)
        short.append(own + test)
        whole.append(own + test + beside)
        print(f"| {name} | {own} + {test} | {beside} | {whole[-1]} |")
    medians = [statistics.median(counts) for counts in (short, whole)]
    print(
        "\nMedian of {}: {:.0f} lines for a module with its test, {:.0f} with neighbours.".format(len(short), *medians)
    )


if __name__ == "__main__":
    main()

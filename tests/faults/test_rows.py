"""The matrix and its tests fit together, and the page of guarantees says what they say."""

from collections import Counter
from pathlib import Path

from tests.faults.guarantees import COMMAND, page
from tests.faults.rows import EXCEPTIONS, GROUPS, ROWS, RowTest, missing, mistakes, row_tests
from tests.pages import ROOT


def test_each_row_stands_once_and_in_a_group() -> None:
    assert [row for row, times in Counter(row.id for row in ROWS).items() if times > 1] == []
    assert {row.group for row in ROWS} == set(GROUPS)
    assert set(EXCEPTIONS) <= {row.id for row in ROWS if row.tier == 1}


def test_every_row_of_tier_one_that_can_be_played_is_played() -> None:
    assert [f"{row.id} {row.title}" for row in missing(row_tests())] == []


def test_the_tests_of_rows_fit_to_the_rows() -> None:
    assert mistakes(row_tests()) == []


def test_the_page_of_guarantees_is_fresh() -> None:
    shown = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    assert shown == page(), f"{COMMAND} > docs/guarantees.md"


def test_what_is_missing_or_wrong_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "def test_N1_refused():\n    '''It goes on\n    later.\n\n    More.'''\n"
        "def test_N2_unsaid(): pass\n"
        "def test_H24_oauth():\n    '''A feature that came.'''\n"
        "def test_X9_unheard_of():\n    '''No row.'''\n"
        "def test_of_something_else(): pass\n"
    )
    tests = row_tests(tmp_path)
    assert tests[0] == RowTest("N1", "test_N1_refused", "test_some.py", "It goes on later.")
    assert [test.row for test in tests] == ["N1", "N2", "H24", "X9"]
    left = {row.id for row in missing(tests)}
    assert "N1" not in left
    assert "N4" in left
    assert "H24" not in left
    assert "N3" not in left
    wrong = mistakes(tests)
    assert len(wrong) == 3
    assert "no docstring" in wrong[0]
    assert "no exception any more" in wrong[1]
    assert "no row X9" in wrong[2]

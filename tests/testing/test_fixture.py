"""The fixture that docs/testing.md proposes works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_fixture_of_the_page_runs_under_pytest(tmp_path: Path) -> None:
    files = dict(re.findall(r"^```python (\w+\.py)\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M))
    assert set(files) == {"conftest.py", "test_shop.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    pytest = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(pytest, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout + done.stderr

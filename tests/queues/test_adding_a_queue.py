"""The queue of the page on adding one passes the suite that the page promises it passes."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-queue.md"


def test_the_queue_of_the_page_passes_the_whole_suite(tmp_path: Path) -> None:
    files = dict(re.findall(r"^```python (\w+\.py)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M))
    assert files.keys() == {"journal.py", "test_journal.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60", "test_journal.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 50, "the page says some fifty"

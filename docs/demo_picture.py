"""Draw the end of a real demo run as docs/demo.svg, for the README: `make picture`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from unitrack.demo import run

WIDTH = 118
FROM = "The client's ledgers"


def main() -> int:
    real = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    code = run(real)
    lines = real.export_text(styles=True).splitlines()
    start = max(at for at, line in enumerate(lines) if FROM in Text.from_ansi(line).plain)
    picture = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    picture.print(Text("$ make demo", style="bold"))
    for line in lines[start:]:
        picture.print(Text.from_ansi(line), no_wrap=True)
    svg = picture.export_svg(title="6,919 real orders, four vendors, two of them stumbling", unique_id="demo")
    # A picture in a README loads nothing, so its font must be one that the reader has.
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    Path(__file__).with_name("demo.svg").write_text(svg + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Run one comparison and put its tables into docs/benchmarks.md.

python -m benchmarks.report transfer --corpus DIR
python -m benchmarks.report squash --corpus DIR
python -m benchmarks.report delta --corpus DIR --peers PYTHON
python -m benchmarks.report sync --corpus DIR
python -m benchmarks.report throughput
python -m benchmarks.report startup
python -m benchmarks.report kubo
python -m benchmarks.report receipts
python -m benchmarks.report serving --wheels DIR
python -m benchmarks.report audit --wheels DIR --node PYTHON --node PYTHON
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def tables_of(lines: list[str]) -> Iterator[str]:
    """Rows of tables, empty lines and what is fenced; libraries print other things."""
    fenced = False
    for line in lines:
        fence = line.startswith("```")
        if fenced or fence or line.startswith("|") or not line:
            yield line
        fenced ^= fence


def main() -> int:
    """Run the comparison named first, with the arguments that follow."""
    name, *arguments = sys.argv[1:]
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    table = "\n".join(tables_of(done.stdout.splitlines())).strip()
    place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    page = PAGE.read_text()
    if not place.search(page) or not table:
        raise SystemExit(f"docs/benchmarks.md has no place for {name}, or it printed no table")
    PAGE.write_text(place.sub(lambda _: f"\n{table}\n\n", page))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

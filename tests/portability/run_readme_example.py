"""Runs the first Python example of the README with this interpreter; fails unless it prints what the README shows.

Counts and distances differ a little between machines, so numbers are not compared, except those of the PEPs found.

Usage: run_readme_example.py README.md
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

_NUMBER = re.compile(r"(?<!PEP )\b[0-9][0-9.,]*")


def main(readme: Path) -> str:
    """Returns what is wrong; empty when nothing is."""
    example = re.search(r"```python\n(.*?)```\n.*?```text\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    if example is None:
        return f"{readme} has no python block followed by a text block"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "example.py"
        script.write_text(example[1], encoding="utf-8")
        done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        return f"the example failed:\n{done.stderr}"
    printed, shown = (_NUMBER.sub("N", text).strip() for text in (done.stdout, example[2]))
    return "" if printed == shown else f"the example printed\n{done.stdout}\nand the README shows\n{example[2]}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) or 0)

from __future__ import annotations

import re
from pathlib import Path


def test_the_tests_of_a_leg_exist(repository: Path) -> None:
    listed = re.search(
        r"^api_tests=\((.*?)\)", (repository / "tests/portability/leg.sh").read_text(), re.MULTILINE | re.DOTALL
    )
    assert listed is not None
    paths = listed[1].split()
    assert paths
    assert [path for path in paths if not (repository / "tests" / path).exists()] == []

"""The code of docs/extending.md runs and prints what the page says."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

from wengert.record.primitive import TABLE

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def test_the_page_on_extending_is_true():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    names: dict = {}
    before = set(TABLE)
    for k, block in enumerate(blocks):
        if "c_kernel" in block and not shutil.which("cc"):
            continue
        case = doctest.DocTestParser().get_doctest(block, names, f"block {k}", str(PAGE), 0)
        failed, tried = doctest.DocTestRunner(optionflags=flags).run(case, clear_globs=False)
        names = case.globs
        assert tried
        assert not failed, f"block {k}"
    assert {"softclip", "convolve", "straight_through"} <= set(TABLE) - before

"""The lessons of `docs/tour` run, and print what they say; their links lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

TOUR = Path(__file__).parent.parent / "docs" / "tour"
PAGES = sorted(TOUR.glob("*.md"))
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_lesson_runs(page):
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=FLAGS, encoding="utf-8")
    assert failed == 0
    assert attempted > 3 or page.stem == "README"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_lesson_is_listed():
    listed = re.findall(r"\]\(([^)]+\.md)\)", (TOUR / "README.md").read_text("utf-8"))
    assert {p.name for p in PAGES} - {"README.md"} == set(listed)

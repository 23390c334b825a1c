"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil
import shutil

import pytest

import wengert

WALK = pkgutil.walk_packages(wengert.__path__, "wengert.")
MODULES = ["wengert", *(m.name for m in WALK if "__main__" not in m.name)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    for case in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        if case.name.endswith("c_kernel") and not shutil.which("cc"):
            pytest.skip("the example of c_kernel needs a C compiler")
        if case.examples:
            failed, _ = doctest.DocTestRunner(optionflags=flags).run(case)
            assert not failed, case.name

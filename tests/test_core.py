"""The compiled core: built from what is there, and the same as the Python that it is made from."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "wengert"
TYPED = sorted(p.relative_to(PACKAGE).with_suffix("") for p in PACKAGE.rglob("*.pxd"))


def binaries(module: Path) -> list[Path]:
    """What the module was compiled to, for this Python or others."""
    return list((PACKAGE / module).parent.glob(f"{module.name}.*.so"))


def test_what_is_compiled_is_what_has_types():
    tree = ast.parse((ROOT / "setup.py").read_text())
    (core,) = [ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "CORE"]
    assert sorted(core) == sorted(".".join(m.parts) for m in TYPED)


def test_nothing_else_was_compiled_once():
    """A binary whose types are gone would be imported all the same."""
    known = [b for m in TYPED for b in binaries(m)]
    assert sorted(PACKAGE.rglob("*.so")) == sorted(known)


@pytest.mark.parametrize("module", TYPED, ids=str)
def test_binaries_are_not_older_than_their_sources(module):
    newest = max((PACKAGE / module).with_suffix(s).stat().st_mtime for s in (".py", ".pxd"))
    for binary in binaries(module):
        assert binary.stat().st_mtime >= newest, f"{binary.name} is old: `make test` compiles it again"


def test_without_a_compiler_the_same_files_run(tmp_path):
    if not any(map(binaries, TYPED)):
        pytest.skip("nothing is compiled here: every other test runs the files as Python")
    shutil.copytree(PACKAGE, tmp_path / "wengert", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    chosen = ["tests/test_engine.py", "tests/test_documents.py", "tests/test_random_bits.py"]
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not torch", *chosen],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stdout[-3000:]


def test_both_are_what_they_seem(tmp_path):
    """The test above would prove nothing if it ran what is compiled."""
    shutil.copytree(PACKAGE, tmp_path / "wengert", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = "import wengert.record.value as v; print(v.__file__)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.strip() == str(tmp_path / "wengert" / "record" / "value.py")


def test_a_process_that_ends_lets_go_of_what_it_holds():
    """The interpreter's codecs outlive the modules: what they hold is freed when there is no pool to give it to."""
    code = """
import codecs
import wengert
def search(name):
    return None
search.kept = wengert.ones(50) + 2
search.kept.numpy()
codecs.register(search)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stderr) == (0, "")

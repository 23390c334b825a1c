"""What `import wengert` costs in imports, and that modules import only from floors below their own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wengert

PACKAGE = Path(wengert.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports go only down. Within a floor they may go anywhere, as long as there is no cycle.
FLOORS = [
    ("api", "errors", "dtypes", "shapes", "config", "lazy", "attributes", "messages", "openblas", "return_types"),
    ("record",),
    ("ops", "compiler"),
    ("runtime",),
    ("autograd",),
    ("storage", "indexing", "lenses", "handles", "tensor"),
    ("overrides", "copying", "arrays"),
    (
        "conversions", "cuda", "differentiating", "dlpack", "explain", "factories", "gradients", "inplace", "layouts",
        "looking", "memory", "operators", "parts", "printing", "profiler", "publish", "random", "show", "views",
    ),
    ("nn", "optim", "func", "fft", "linalg", "special", "utils", "serialization", "torch_files", "viz", "extend"),
    ("", "__main__", "command", "derivatives", "operations"),
]  # fmt: skip
FLOOR = {name: k for k, names in enumerate(FLOORS) for name in names}
HEAVY = ("llvmlite", "scipy_openblas32", "scipy", "torch", "matplotlib", "numpy.random")


def qualified(path: Path) -> str:
    """The module's name below the package, for instance "record.value"; the package itself is ""."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return "" if name == "__init__" else name.removesuffix(".__init__")


NAMES = {qualified(p) for p in MODULES}


def imports(path: Path) -> set[str]:
    """The modules of the package that one imports at run time."""
    found = set()
    for node in top_level(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "wengert":
            base = node.module.partition(".")[2]
            for a in node.names:
                inner = f"{base}.{a.name}" if base else a.name
                found.add(inner if inner in NAMES else base)
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.partition(".")[0] == "wengert"}
    return found


def top_level(tree: ast.Module):
    """Statements that run at import: not those under `if TYPE_CHECKING`."""
    for node in tree.body:
        if isinstance(node, ast.If):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                yield from node.body
                yield from node.orelse
        else:
            yield node


@pytest.mark.parametrize("path", MODULES, ids=qualified)
def test_imports_go_only_down(path):
    name = qualified(path)
    mine = FLOOR[name.partition(".")[0]]
    for other in imports(path):
        assert FLOOR[other.partition(".")[0]] <= mine, f"{name} imports {other}, which is above it"


def test_no_import_cycles():
    graph = {qualified(p): imports(p) - {qualified(p)} for p in MODULES}
    done: set[str] = set()
    while graph:
        free = [m for m, below in graph.items() if below <= done]
        assert free, f"a cycle among {sorted(graph)}"
        for m in free:
            done.add(m)
            del graph[m]


@pytest.mark.parametrize("path", MODULES, ids=qualified)
def test_no_imports_inside_functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for inner in ast.walk(node):
                assert not isinstance(inner, ast.Import | ast.ImportFrom), f"line {inner.lineno}"


def test_import_leaves_heavy_packages_alone():
    code = "import sys, wengert; print([m for m in sys.argv[1:] if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_all_names_what_is_there():
    assert len(set(wengert.__all__)) == len(wengert.__all__)
    for name in wengert.__all__:
        assert hasattr(wengert, name), name
    public = {n for n in vars(wengert) if not n.startswith("_")}
    unlisted = public - set(wengert.__all__) - NAMES - {n.partition(".")[0] for n in NAMES} - {"annotations"}
    assert not unlisted


def test_version_is_the_package_version():
    assert wengert.__version__ == "0.1.0"

"""Reading rows that lie apart: a tile of memory is transposed, so that a loop along rows finds them side by side.

A load whose rows are `step` apart, inside a loop that walks each row element by element, would be one scalar load for
each row and turn. Instead `pack` brings COLUMNS elements of all rows at once into a buffer that holds, for each
element, the rows side by side: squares of registers are transposed by shuffles. Where a loop reads two such arrays for
their product only, the products are transposed.
"""

from __future__ import annotations

from wengert.compiler.llvm_ops import SCALARS
from wengert.compiler.lower import TILE

COLUMNS = TILE  # elements of each row that are packed at once
AHEAD = 2 * TILE  # elements ahead that are asked for: processors do not foresee so many rows at once
PACKED = ("f32", "f64")
KINDS = ("f32_8", "f32_4", "f64_4")
NAMES = tuple(f"wengert_{what}_{kind}" for what in ("pack", "multiply") for kind in KINDS)

# Rows from `rows` on repeat row 0; `lanes` is a multiple of the square's side.
_TEXT = """
define void @NAME(GIVEN, i64 %rows, ptr %to, i64 %lanes, i64 %columns) nounwind {
entry:
  %whole = and i64 %columns, -SIDE
  br label %group
group:
  %r = phi i64 [0, %entry], [%r.next, %group.end]
  %r.next = add i64 %r, SIDE
POINTERS
  %some = icmp sgt i64 %whole, 0
  br i1 %some, label %square, label %rest
square:
  %c = phi i64 [0, %group], [%c.next, %square]
SQUARE
  %c.next = add i64 %c, SIDE
  %more = icmp slt i64 %c.next, %whole
  br i1 %more, label %square, label %rest
rest:
  %left = icmp slt i64 %whole, %columns
  br i1 %left, label %column, label %group.end
column:
  %d = phi i64 [%whole, %rest], [%d.next, %column]
COLUMN
  %d.next = add i64 %d, 1
  %again = icmp slt i64 %d.next, %columns
  br i1 %again, label %column, label %group.end
group.end:
  %groups = icmp slt i64 %r.next, %lanes
  br i1 %groups, label %group, label %done
done:
  ret void
}
"""


def side(dtype: str, lanes: int) -> int:
    """Rows and columns of the squares that are transposed; 0 if rows of this dtype are not packed."""
    return next((s for s in ((8, 4) if dtype == "f32" else (4,)) if lanes % s == 0), 0) if dtype in PACKED else 0


def name(dtype: str, lanes: int, arrays: int) -> str:
    """The function that packs rows of one array of `dtype`, or the products of two, as kernels call it."""
    return f"wengert_{('pack', 'multiply')[arrays - 1]}_{dtype}_{side(dtype, lanes)}"


def declare(name: str) -> str:
    return f"declare void @{name}({'ptr, i64, ' * len(_arrays(name))}i64, ptr, i64, i64)\n"


def _arrays(name: str) -> tuple[str, ...]:
    return ("a", "b") if name.startswith("wengert_multiply") else ("a",)


def define(name: str) -> str:
    """The module of a function that packs rows. Kernels share it: it takes longer to compile than most of them."""
    dtype, size = name.split("_")[-2], int(name.split("_")[-1])
    t, arrays = SCALARS[dtype], _arrays(name)
    vector = f"<{size} x {t}>"
    pointers, square, column = [], [], []
    for i in range(size):
        pointers += [f"  %r{i} = add i64 %r, {i}", f"  %in{i} = icmp slt i64 %r{i}, %rows"]
        for x in arrays:
            pointers += [f"  %{x}.at{i} = mul i64 %r{i}, %{x}.step"]
            pointers += [f"  %{x}.row{i} = select i1 %in{i}, i64 %{x}.at{i}, i64 0"]
            pointers += [f"  %{x}.p{i} = getelementptr {t}, ptr %{x}, i64 %{x}.row{i}"]
            square += [f"  %{x}.q{i} = getelementptr {t}, ptr %{x}.p{i}, i64 %c"]
            square += [f"  %{x}.x{i} = load {vector}, ptr %{x}.q{i}, align 4"]
            square += [f"  %{x}.ahead{i} = getelementptr {t}, ptr %{x}.q{i}, i64 {AHEAD}"]
            square += [f"  call void @llvm.prefetch.p0(ptr %{x}.ahead{i}, i32 0, i32 3, i32 1)"]
            column += [f"  %{x}.e{i} = getelementptr {t}, ptr %{x}.p{i}, i64 %d"]
            column += [f"  %{x}.y{i} = load {t}, ptr %{x}.e{i}, align 4"]
        if len(arrays) > 1:
            square += [f"  %x{i} = fmul {vector} %a.x{i}, %b.x{i}"]
            column += [f"  %y{i} = fmul {t} %a.y{i}, %b.y{i}"]
        y = f"%y{i}" if len(arrays) > 1 else f"%a.y{i}"
        column += [*_place(f"f{i}", "%d", f"%r{i}", t), f"  store {t} {y}, ptr %f{i}, align 4"]
    rows = [f"%x{i}" if len(arrays) > 1 else f"%a.x{i}" for i in range(size)]
    lines, turned = _transposed(rows, vector)
    square += lines
    for i, x in enumerate(turned):
        square += [f"  %c{i} = add i64 %c, {i}", *_place(f"to{i}", f"%c{i}", "%r", t)]
        square += [f"  store {vector} {x}, ptr %to{i}, align 4"]
    given = ", ".join(f"ptr %{x}, i64 %{x}.step" for x in arrays)
    text = _TEXT.replace("NAME", name).replace("SIDE", str(size)).replace("GIVEN", given)
    for what, body in (("POINTERS", pointers), ("SQUARE", square), ("COLUMN", column)):
        text = text.replace(what, "\n".join(body))
    return text + "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n"


def _place(result: str, column: str, row: str, t: str) -> list[str]:
    """The address of a packed element."""
    return [
        f"  %{result}.c = mul i64 {column}, %lanes",
        f"  %{result}.r = add i64 %{result}.c, {row}",
        f"  %{result} = getelementptr {t}, ptr %to, i64 %{result}.r",
    ]


def _transposed(rows: list[str], vector: str) -> tuple[list[str], list[str]]:
    """Swap blocks of 1, 2, 4... elements between rows that lie as far apart."""
    n, lines, step = len(rows), [], 1
    while step < n:
        new = list(rows)
        for i in range(n):
            if i & step:
                continue
            a, b = rows[i], rows[i + step]
            low = [j if not j & step else n + j - step for j in range(n)]
            high = [j + step if not j & step else n + j for j in range(n)]
            for k, mask in ((i, low), (i + step, high)):
                new[k] = f"%s{step}.{k}"
                picks = ", ".join(f"i32 {j}" for j in mask)
                lines.append(f"  {new[k]} = shufflevector {vector} {a}, {vector} {b}, <{n} x i32> <{picks}>")
        rows, step = new, 2 * step
    return lines, rows

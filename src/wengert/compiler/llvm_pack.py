"""Reading rows that lie apart: a tile of memory is transposed, so that a loop along rows finds them side by side.

A load whose rows are `step` apart, inside a loop that walks each row element by element, would be one scalar load for
each row and turn. Instead `pack` brings COLUMNS elements of all rows at once into a buffer that holds, for each
element, the rows side by side: squares of registers are transposed by shuffles.
"""

from __future__ import annotations

from wengert.compiler.llvm_ops import SCALARS
from wengert.compiler.lower import TILE

COLUMNS = TILE  # elements of each row that are packed at once
AHEAD = 2 * TILE  # elements ahead that are asked for: processors do not foresee so many rows at once
PACKED = ("f32", "f64")
NAMES = ("wengert_pack_f32_8", "wengert_pack_f32_4", "wengert_pack_f64_4")

# Rows from `rows` on repeat row 0; `lanes` is a multiple of the square's side.
_TEXT = """
define void @NAME(ptr %from, i64 %step, i64 %rows, ptr %to, i64 %lanes, i64 %columns) nounwind {
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


def name(dtype: str, lanes: int) -> str:
    """The function that packs rows of `dtype`, as kernels call it."""
    return f"wengert_pack_{dtype}_{side(dtype, lanes)}"


def define(name: str) -> str:
    """The module of a function that packs rows. Kernels share it: it takes longer to compile than most of them."""
    dtype, size = name.split("_")[-2], int(name.split("_")[-1])
    t = SCALARS[dtype]
    vector = f"<{size} x {t}>"
    pointers, square, column = [], [], []
    for i in range(size):
        pointers += [f"  %r{i} = add i64 %r, {i}", f"  %in{i} = icmp slt i64 %r{i}, %rows"]
        pointers += [f"  %at{i} = mul i64 %r{i}, %step", f"  %row{i} = select i1 %in{i}, i64 %at{i}, i64 0"]
        pointers += [f"  %p{i} = getelementptr {t}, ptr %from, i64 %row{i}"]
        square += [f"  %q{i} = getelementptr {t}, ptr %p{i}, i64 %c", f"  %x{i} = load {vector}, ptr %q{i}, align 4"]
        square += [f"  %ahead{i} = getelementptr {t}, ptr %q{i}, i64 {AHEAD}"]
        square += [f"  call void @llvm.prefetch.p0(ptr %ahead{i}, i32 0, i32 3, i32 1)"]
        column += [f"  %e{i} = getelementptr {t}, ptr %p{i}, i64 %d", f"  %y{i} = load {t}, ptr %e{i}, align 4"]
        column += [*_place(f"f{i}", "%d", f"%r{i}", t), f"  store {t} %y{i}, ptr %f{i}, align 4"]
    lines, turned = _transposed([f"%x{i}" for i in range(size)], vector)
    square += lines
    for i, x in enumerate(turned):
        square += [f"  %c{i} = add i64 %c, {i}", *_place(f"to{i}", f"%c{i}", "%r", t)]
        square += [f"  store {vector} {x}, ptr %to{i}, align 4"]
    text = _TEXT.replace("NAME", name).replace("SIDE", str(size))
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

"""Layouts: boxes do not overlap, lines cross no box and lead one way, frames hold what is theirs and nothing else."""

from __future__ import annotations

import itertools
import random
import re
import time
import xml.etree.ElementTree as ET

import pytest

import wengert as torch
from wengert import viz
from wengert.viz import text
from wengert.viz.layout import Box, place

SVG = "{http://www.w3.org/2000/svg}"


def graph(seed, n=30, groups=0, dense=1.6):
    """A random acyclic graph: boxes of many sizes, some of them in groups."""
    r = random.Random(seed)
    # Groups are stretches of the order, so that boxes of groups form no cycle.
    bounds = sorted(r.sample(range(n), min(2 * groups, n)))
    of = [None] * n
    for g in range(groups):
        for k in range(bounds[2 * g], bounds[2 * g + 1] + 1):
            of[k] = g
    boxes = [Box(r.uniform(10, 160), r.uniform(10, 60), of[k]) for k in range(n)]
    pairs = [sorted(r.sample(range(n), 2)) for _ in range(int(dense * n))]
    return boxes, [(a, b) for a, b in pairs], [None] * groups


def rectangle(box, center):
    w, h = box.width, box.height
    return center[0] - w / 2, center[1] - h / 2, center[0] + w / 2, center[1] + h / 2


def overlap(a, b, slack=0.01):
    return a[0] < b[2] - slack and b[0] < a[2] - slack and a[1] < b[3] - slack and b[1] < a[3] - slack


def points(route, right):
    """Places on the drawn line: straight along the layout, else the curve that the picture has."""
    for (x0, y0), (x1, y1) in itertools.pairwise(route):
        for t in (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0):
            s = t * t * (3 - 2 * t)  # across
            m = 1.5 * t * (1 - t) + t**3  # along
            if right:
                yield x0 + (x1 - x0) * m, y0 + (y1 - y0) * s
            else:
                yield x0 + (x1 - x0) * s, y0 + (y1 - y0) * m


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_apart_and_lines_go_around_them(seed, right):
    boxes, edges, parents = graph(seed, n=5 + 4 * seed, groups=seed % 4)
    found = place(boxes, edges, parents, right=right)
    places = [rectangle(b, c) for b, c in zip(boxes, found.centers)]
    for a, b in itertools.combinations(range(len(boxes)), 2):
        assert not overlap(places[a], places[b]), (a, b)
    for p in places:
        assert p[0] >= -0.01
        assert p[1] >= -0.01
        assert p[2] <= found.width + 0.01
        assert p[3] <= found.height + 0.01
    for (a, b), route in zip(edges, found.routes):
        along = 0 if right else 1
        assert all(q[along] >= p[along] - 0.01 for p, q in itertools.pairwise(route)), "a line turns back"
        for p, q in itertools.pairwise(route):
            assert q[along] > p[along] + 1 or abs(q[1 - along] - p[1 - along]) < 0.01, "a line jumps"
        for point in points(route, right):
            dot = (point[0], point[1], point[0], point[1])
            for k, p in enumerate(places):
                inside = p[0] + 1 < dot[0] < p[2] - 1 and p[1] + 1 < dot[1] < p[3] - 1
                assert not inside or k in (a, b), f"the line {a} -> {b} crosses box {k}"


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_lines_meet_the_boxes_that_they_join(seed, right):
    boxes, edges, parents = graph(seed, n=25, groups=2)
    found = place(boxes, edges, parents, right=right)
    for (a, b), route in zip(edges, found.routes):
        first, last = rectangle(boxes[a], found.centers[a]), rectangle(boxes[b], found.centers[b])
        along, across = (0, 1) if right else (1, 0)
        assert route[0][along] == pytest.approx(first[2 + along])
        assert route[-1][along] == pytest.approx(last[along])
        assert first[across] <= route[0][across] <= first[2 + across]
        assert last[across] <= route[-1][across] <= last[2 + across]


@pytest.mark.parametrize("seed", range(8))
def test_a_frame_holds_its_boxes_and_no_others(seed):
    boxes, edges, parents = graph(seed, n=40, groups=3)
    found = place(boxes, edges, parents)
    for g, (x, y, w, h) in enumerate(found.frames):
        for k, b in enumerate(boxes):
            p = rectangle(b, found.centers[k])
            if b.group == g:
                assert x < p[0] and y < p[1] and p[2] < x + w and p[3] < y + h  # noqa: PT018 -- one claim
            else:
                assert not overlap(p, (x, y, x + w, y + h))
    for a, b in itertools.combinations(found.frames, 2):
        assert not overlap((a[0], a[1], a[0] + a[2], a[1] + a[3]), (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def test_frames_within_frames():
    boxes = [Box(50, 20, g) for g in (None, 0, 1, 1, 0, None)]
    found = place(boxes, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 3)], [None, 0])
    (x, y, w, h), (u, v, s, t) = found.frames
    assert x < u and y < v and u + s < x + w and v + t < y + h  # noqa: PT018
    assert found.centers[0][1] < y < found.centers[1][1] < v < found.centers[2][1]


def test_a_chain_is_a_straight_line_and_a_diamond_is_symmetric():
    boxes = [Box(60, 20)] * 5
    found = place(boxes, [(k, k + 1) for k in range(4)])
    assert len({round(x, 6) for x, _ in found.centers}) == 1
    for right in (False, True):  # through a frame too, which has its title on one side
        found = place([Box(60, 20), Box(60, 20, 0), Box(60, 20)], [(0, 1), (1, 2)], [None], right=right)
        assert len({round(center[right], 6) for center in found.centers}) == 1
    found = place([Box(60, 20)] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    (x0, _), (x1, _), (x2, _), (x3, _) = found.centers
    assert x0 == pytest.approx(x3)
    assert abs(x1 - x0) == pytest.approx(abs(x2 - x0), abs=0.5)


def test_a_planar_ladder_has_no_crossings():
    """Two chains side by side, joined by rungs that all lead one way: drawn without crossings."""
    n = 8
    edges = [(k, k + 2) for k in range(2 * n - 2)] + [(2 * k, 2 * k + 3) for k in range(n - 1)]
    found = place([Box(40, 20)] * (2 * n), edges)
    side = [found.centers[2 * k][0] < found.centers[2 * k + 1][0] for k in range(n)]
    assert len(set(side)) == 1


def test_nothing_at_all_and_cycles_of_frames():
    assert place([], []).centers == []
    # Box 1 lies between boxes 0 and 2 of one group: the frames' graph has a cycle, the boxes' has none.
    found = place([Box(30, 20, 0), Box(30, 20), Box(30, 20, 0)], [(0, 1), (1, 2)], [None])
    x, y, w, h = found.frames[0]
    assert not overlap(rectangle(Box(30, 20), found.centers[1]), (x, y, x + w, y + h))


def test_ten_thousand_boxes():
    boxes, edges, _ = graph(1, n=10_000, dense=0.0)
    r = random.Random(2)
    edges = [(max(0, k - 1 - int(r.expovariate(0.4))), k) for k in range(1, 10_000)]
    edges += [(0, k) for k in range(2, 10_000, 3)]  # one box that thousands read, far away
    start = time.process_time()
    found = place(boxes, edges)
    assert time.process_time() - start < 60  # about 2 s
    assert len(found.centers) == 10_000
    assert all(len(route) >= 2 for route in found.routes)


# -- texts --


def words(svg):
    """Each text with its box: (text, left, right, baseline)."""
    for e in ET.fromstring(svg).iter(f"{SVG}text"):
        size, bold = float(e.get("font-size", 12)), e.get("font-weight") == "bold"
        wide = text.width(e.text, size, bold)
        x = float(e.get("x"))
        left = x - wide / 2 if e.get("text-anchor") == "middle" else x
        yield e.text, left, left + wide, float(e.get("y"))


@pytest.mark.parametrize("name", ["x", "W" * 30, "漢字" * 12, "a rather long name of a tensor, with spaces", "🙂" * 8])
def test_text_stays_within_its_box(name):
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    drawing = viz.make_dot((x * 3).log().sum(), {name: x}, show_attrs=True, show_saved=True)
    root = ET.fromstring(drawing.svg)
    for g in root.iter(f"{SVG}g"):
        if (g.get("class") or "").startswith("node"):
            box = g.find(f"{SVG}rect")
            left, right = float(box.get("x")), float(box.get("x")) + float(box.get("width"))
            top, bottom = float(box.get("y")), float(box.get("y")) + float(box.get("height"))
            for shown, a, b, y in words(ET.tostring(g)):
                assert left <= a + 0.2, shown
                assert b <= right + 0.2, shown
                assert top < y < bottom


def test_nothing_is_cut_off():
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    y = (x * 3).log().sum()
    long = "a rather long name of a tensor, with spaces"
    for drawing in (viz.make_dot(y, {long: x}, style="covariables"), viz.forward_backward(y, {long: x}),
                    viz.paths(y, x, {long: x})):  # fmt: skip
        root = ET.fromstring(drawing.svg)
        wide, high = float(root.get("width")), float(root.get("height"))
        shift = [float(v) for v in re.findall(r"[\d.]+", root.find(f"{SVG}g").get("transform"))]
        inner = ET.tostring(root.find(f"{SVG}g"))
        for shown, a, b, y_ in words(inner):
            assert a + shift[0] >= 0, shown
            assert b + shift[0] <= wide, shown
            assert y_ + shift[1] <= high
        for shown, a, b, y_ in words(drawing.svg):
            if y_ > high - 60:
                assert a >= 0, shown
                assert b <= wide + 1, shown


def test_long_text_is_cut_in_the_middle():
    assert text.clipped("x" * 44) == "x" * 44
    assert text.clipped("a" * 30 + "b" * 30) == "a" * 22 + "…" + "b" * 21
    # DejaVu Sans Bold, from its own table of widths.
    assert text.width("weight", 1000, bold=True) >= 924 + 678 + 343 + 716 + 712 + 478
    assert text.width("weight", 1000) == 818 + 615 + 278 + 635 + 634 + 392
    assert text.width("iiii", 10) < text.width("WWWW", 10) < text.width("漢字漢字", 10)

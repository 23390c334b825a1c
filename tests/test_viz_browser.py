"""The page of `viz.explore` in a headless Chromium: what it shows when somebody clicks, types and switches."""

from __future__ import annotations

import pytest
from browser import PROGRAM, Browser

import wengert as torch
from wengert import viz

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine (Debian: apt install chromium)")

EVIL = "<img src=x onerror=\"document.title='gone'\">' \"\n" + "y" * 500


def norm(q, p):
    squared = ((q[:, None] - q[None]) ** 2).sum(-1)
    kernel = (-squared / 12.5).exp()
    return 0.5 * (p * (kernel @ p)).sum()


@pytest.fixture(scope="module")
def browser():
    with Browser() as b:
        yield b
    assert b.process.poll() is not None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    q, p = torch.randn(50, 3, requires_grad=True), torch.randn(50, 3, requires_grad=True)
    page = viz.explore(norm(q, p), names={"q": q, EVIL: p}, title="norm <b>&amp;")
    return page.save(tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def tab(browser, path):
    return browser.page(path)


@pytest.mark.parametrize("dark", [False, True])
def test_a_click_tells_what_a_box_is(browser, path, tmp_path, dark):
    tab = browser.page(path, dark=dark)
    tab.click(*tab.value("explorer.place('exp')"))
    told = tab.text("#panel")
    assert tab.value("explorer.selected") == "exp"
    for text in ("ExpBackward0", "float32 [50, 50]", "exp: self = g * conj(result)", "test_viz_browser.py:", "mean "):
        assert text in told
    assert "kernel = (-squared / 12.5).exp()" in told
    picture = tab.screenshot(tmp_path / "clicked.png").read_bytes()
    assert picture[:4] == b"\x89PNG"
    assert len(picture) > 20_000
    tab.click(5, 300)  # beside all boxes
    assert tab.value("explorer.selected") is None
    assert "Program" in tab.text("#panel h2")
    assert tab.complaints() == []


def test_neighbours_are_links(tab):
    tab.click(*tab.value("explorer.place('exp')"))
    tab.click_on("#panel dd:last-of-type button")
    assert tab.value("explorer.selected") == "mm"


def test_search(tab):
    tab.press("/")
    tab.type("sub")
    assert tab.text("#found") == "1 found" or tab.text("#found").endswith("found")
    first = tab.text("#matches button")
    assert first.startswith("sub")
    tab.press("Enter")
    assert tab.value("explorer.selected") == "sub"
    assert tab.text("#found").startswith("1 of ")
    tab.press("Escape")
    assert (tab.value("explorer.selected"), tab.value("document.querySelector('#search').value")) == (None, "")
    tab.press("/")
    tab.type("nothing of the kind")
    assert tab.text("#found") == "0 found"
    assert tab.complaints() == []


def test_views_switch_and_keep_what_is_selected(tab, tmp_path):
    tab.click(*tab.value("explorer.place('exp')"))
    tab.click_on("#views button:nth-child(2)")
    assert (tab.value("explorer.view"), tab.value("explorer.selected")) == ("backward", "ExpBackward0")
    tab.screenshot(tmp_path / "backward.png")
    tab.click_on("#views button:nth-child(3)")
    assert (tab.value("explorer.view"), tab.value("explorer.selected")) == ("kernels", None)
    tab.click(*tab.value("explorer.place('kernel 0')"))
    told = tab.text("#panel")
    for text in ("loop form", "kernel over", "flops", "bytes", "time", "exp"):
        assert text in told
    tab.screenshot(tmp_path / "kernels.png")
    tab.click_on("#views button:nth-child(4)")
    assert tab.value("explorer.view") == "memory"
    assert tab.text("#memory p").startswith("kept for backward: ")
    tab.screenshot(tmp_path / "memory.png")
    tab.click_on("#views button:nth-child(5)")
    assert tab.text("#time p").startswith("measured: ")
    assert "kernel" in tab.text("#time") or "interpreter" in tab.text("#time")
    tab.screenshot(tmp_path / "time.png")
    tab.press("4")
    tab.click_on("#memory li button")
    assert tab.value("explorer.selected") in ("mul", "mm")
    assert tab.complaints() == []


def test_an_operation_leads_to_its_kernel(tab):
    tab.click(*tab.value("explorer.place('exp')"))
    tab.value("[...document.querySelectorAll('#panel button')].find((b) => b.textContent == 'show kernel 0').click()")
    assert (tab.value("explorer.view"), tab.value("explorer.selected")) == ("kernels", "kernel 0")


def test_arrows_follow_lines(tab):
    tab.click(*tab.value("explorer.place('sub')"))
    tab.press("ArrowDown")
    assert tab.value("explorer.selected") == "pow"
    tab.press("ArrowDown")
    assert tab.value("explorer.selected") == "sum"
    tab.press("ArrowUp")
    tab.press("ArrowUp")
    assert tab.value("explorer.selected") == "sub"
    tab.press("ArrowUp")
    assert tab.value("explorer.selected") == "unsqueeze"
    here = tab.value("explorer.place('sub')")
    tab.press("ArrowRight")
    tab.press("ArrowLeft")
    assert tab.value("explorer.selected") == "unsqueeze"
    assert tab.value("explorer.place('sub')") == here


def test_zooming_and_moving(tab):
    before = tab.value("explorer.scale")
    tab.press("+")
    assert tab.value("explorer.scale") > before
    tab.press("-")
    assert tab.value("explorer.scale") == pytest.approx(before)
    tab.call("Input.dispatchMouseEvent", type="mouseWheel", x=400, y=400, deltaX=0, deltaY=-300)
    tab.wait(f"explorer.scale > {before} * 1.2")
    tab.press("0")
    x, y = tab.value("new Promise((done) => requestAnimationFrame(() => done(explorer.place('sub'))))")
    tab.call("Input.dispatchMouseEvent", type="mousePressed", x=60, y=400, button="left", clickCount=1)
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=160, y=430, button="left", buttons=1)
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", x=160, y=430, button="left", clickCount=1)
    assert tab.value("explorer.place('sub')") == pytest.approx([x + 100, y + 30])
    assert tab.value("explorer.selected") is None


def test_in_a_notebook(browser, tmp_path):
    """Within a frame, as notebooks show it, all of a small program is in sight."""
    page = viz.explore(torch.randn(3, requires_grad=True).sin().sum())
    file = tmp_path / "notebook.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><p>above</p>{page._repr_html_()}", "utf-8")
    plain = page._repr_html_().replace('sandbox="allow-scripts"', 'sandbox="allow-scripts allow-same-origin"')
    (tmp_path / "open.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><p>above</p>{plain}", "utf-8")
    tab = browser.page(tmp_path / "open.html", ready="frames.length == 1 && !!frames[0].explorer?.place('sin')")
    x, y = tab.value("frames[0].explorer.place('sin')")
    width, height = tab.value("[frames[0].innerWidth, frames[0].innerHeight]")
    assert 100 < x < width - 400  # beside the panel
    assert 50 < y < height
    tab = browser.page(file, ready="frames.length == 1")
    tab.screenshot(tmp_path / "notebook.png")
    assert tab.complaints() == []


def test_compositions_open(browser, tmp_path):
    x = torch.randn(4, 3, requires_grad=True)
    tab = browser.page(viz.explore(torch.var(x, 1).sum()).save(tmp_path / "page.html"))
    assert tab.value("explorer.place('sub')") is None
    assert "var" in tab.value("JSON.stringify(JSON.parse(document.querySelector('#data').textContent).views[0].opened)")
    tab.click_on("#open")
    assert tab.value("document.querySelector('#open').getAttribute('aria-pressed')") == "true"
    tab.wait("explorer.place('sub') !== null")
    assert tab.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(browser, path, dark):
    tab = browser.page(path, dark=dark)
    look = "getComputedStyle(document.body).backgroundColor"
    theme = tab.value("document.documentElement.dataset.theme")
    before = tab.value(look)
    tab.click_on("#theme")
    assert tab.value("document.documentElement.dataset.theme") == {"light": "dark", "dark": "light"}[theme]
    assert tab.value(look) != before


def test_text_of_users_stays_text(tab):
    assert tab.value("document.title") == "norm <b>&amp;"
    assert tab.text("#title") == "norm <b>&amp;"
    tab.press("/")
    tab.type("onerror")
    tab.press("Enter")
    assert tab.value("document.querySelectorAll('img, #panel b').length") == 0
    assert tab.text("#panel h2").startswith("<img src=x onerror=")
    assert tab.value("document.title") == "norm <b>&amp;"
    assert tab.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(browser, path, tmp_path, dark):
    tab = browser.page(path, width=390, height=780, dark=dark)
    assert tab.value("document.documentElement.scrollWidth") <= 390
    for selector in ("#views button:last-child", "#search", "#theme"):
        right, bottom = tab.value(
            f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect();"
            " return [b.right, b.bottom]; })()"
        )
        assert right <= 390
        assert bottom < 200
    tab.click(*tab.value("explorer.place('sub')"))
    assert tab.value("explorer.selected") == "sub"
    assert tab.value("document.querySelector('#panel').getBoundingClientRect().width") == 390
    assert tab.value("document.querySelector('canvas').clientHeight") > 250
    tab.screenshot(tmp_path / "phone.png")
    assert tab.complaints() == []


def test_ten_thousand_boxes(browser, tmp_path):
    """A long program: the page opens at its beginning, finds its end, and shows all of it."""
    x = torch.randn(4, requires_grad=True)
    y = x
    for _ in range(3400):
        y = (y * 0.999).sin()
    tab = browser.page(viz.explore(y.sum(), values=False).save(tmp_path / "long.html"))
    assert "boxes" in tab.text("#panel .kind")
    assert int(tab.text("#panel .kind").split()[0].replace(",", "")) > 10_000
    tab.press("/")
    tab.type("result")
    tab.press("Enter")
    assert tab.value("explorer.selected") == "result"
    tab.press("Escape")
    tab.click_on("#fit")
    spent = tab.value(
        "(async () => { const start = performance.now();"
        " for (let k = 0; k < 4; k++) { document.querySelector(k % 2 ? '#in' : '#out').click();"
        " await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); }"
        " return (performance.now() - start) / 4; })()"
    )
    assert spent < 2000  # milliseconds a picture; some 60 on an idle machine
    assert tab.complaints() == []

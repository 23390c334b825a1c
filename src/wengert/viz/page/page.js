// The page of viz.explore: draws views on a canvas, and tells about what is selected. Text of a program becomes text
// (textContent, fillText) and nothing else.

const data = JSON.parse(document.getElementById("data").textContent);
for (const detail of data.details) detail.rows = detail.rows.map((row) => row.map((k) => data.strings[k]));
const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const pen = canvas.getContext("2d");
const FONT = 'system-ui, "Helvetica Neue", Arial, sans-serif';
const KINDS = ["operation", "leaf", "output", "saved", "constant", "kernel"];
const COLOR_OF = { base: "saved", given: "leaf", array: "constant", BLAS: "kernel", library: "kernel", result: "output" };
const WORDS = {
  operation: "operation", leaf: "leaf: gets .grad", output: "result", saved: "kept for backward", constant: "constant",
  base: "base of a view", kernel: "kernel", BLAS: "BLAS call", library: "library call", given: "input", array: "stored array",
};
// Places in a box and in a line, as Python wrote them.
const X = 0, Y = 1, W = 2, H = 3, KIND = 4, LABEL = 5, SECOND = 6, DETAIL = 7;
const SOURCE = 0, TARGET = 1, LINE = 2, NAME = 3, POINTS = 4;

// -- views: boxes, lines, and what is derived from them once --

function prepare(view) {
  view.into = view.nodes.map(() => []);
  view.outOf = view.nodes.map(() => []);
  view.edges.forEach((e, k) => {
    view.into[e[TARGET]].push(k);
    view.outOf[e[SOURCE]].push(k);
  });
  view.lines = { flow: new Path2D(), other: new Path2D() };
  for (const e of view.edges) trace(view.lines[e[LINE] === "flow" ? "flow" : "other"], e[POINTS]);
  view.camera = null;
  if (view.opened) prepare(view.opened);
  return view;
}

function trace(path, points) {
  if (points.length < 4) return;
  path.moveTo(points[0], points[1]);
  for (let k = 2; k < points.length; k += 2) {
    const [x0, y0, x1, y1] = points.slice(k - 2, k + 2);
    const middle = (y0 + y1) / 2;
    if (Math.abs(x0 - x1) < 0.5) path.lineTo(x1, y1);
    else path.bezierCurveTo(x0, middle, x1, middle, x1, y1);
  }
  const [x, y] = points.slice(-2);
  path.moveTo(x - 3.5, y - 7);
  path.lineTo(x, y);
  path.lineTo(x + 3.5, y - 7);
}

const views = data.views.map(prepare);
const lists = ["memory", "time"].map((key) => ({ key, name: key === "time" ? "Time" : "Memory", nodes: [], edges: [] }));
const tabs = [...views, ...lists];
const isList = (view) => lists.includes(view);
const state = { view: views[0], selected: -1, matches: [], match: -1, opened: false, colors: {} };

const current = () => (state.opened && state.view.opened ? state.view.opened : state.view);

// -- drawing --

let waiting = false;
function draw() {
  if (!waiting) requestAnimationFrame(paint);
  waiting = true;
}

function paint() {
  waiting = false;
  const view = current();
  if (!view.nodes.length) return;
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return; // not laid out yet: the observer draws again
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  view.camera = view.camera || home(view);
  const { x, y, scale } = view.camera;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(scale * ratio, 0, 0, scale * ratio, -x * scale * ratio, -y * scale * ratio);
  view.frames.forEach((f) => paintFrame(f, scale));
  pen.lineWidth = Math.max(1.2, 0.7 / scale);
  pen.strokeStyle = state.colors.line;
  pen.stroke(view.lines.flow);
  pen.strokeStyle = state.colors[view.key === "backward" ? "saved-line" : "line"];
  pen.setLineDash(scale > 0.3 ? [4, 3] : []);
  pen.stroke(view.lines.other);
  pen.setLineDash([]);
  if (state.selected >= 0) paintNeighbours(view, scale);
  const seen = [x - 4, y - 4, x + width / scale + 4, y + height / scale + 4];
  const matching = new Set(state.matches);
  view.nodes.forEach((n, k) => {
    if (n[X] + n[W] / 2 < seen[0] || n[X] - n[W] / 2 > seen[2]) return;
    if (n[Y] + n[H] / 2 < seen[1] || n[Y] - n[H] / 2 > seen[3]) return;
    paintBox(n, k, scale, matching.has(k));
  });
}

function paintFrame([x, y, width, height, title], scale) {
  pen.fillStyle = state.colors.frame;
  pen.strokeStyle = state.colors["frame-rule"];
  pen.lineWidth = 1;
  pen.beginPath();
  pen.roundRect(x, y, width, height, 9);
  pen.fill();
  pen.stroke();
  if (scale < 0.35) return;
  pen.font = `11px ${FONT}`;
  pen.textAlign = "left";
  pen.fillStyle = state.colors.faint;
  pen.fillText(title, x + 9, y + 14, width - 18);
}

function paintNeighbours(view, scale) {
  const path = new Path2D();
  const near = [...view.into[state.selected], ...view.outOf[state.selected]].map((k) => view.edges[k]);
  near.forEach((e) => trace(path, e[POINTS]));
  pen.strokeStyle = state.colors.accent;
  pen.lineWidth = Math.max(2.2, 1.4 / scale);
  pen.stroke(path);
  if (scale < 0.5) return;
  pen.font = `11px ${FONT}`;
  pen.textAlign = "left";
  pen.fillStyle = state.colors.accent;
  for (const e of near) {
    if (!e[NAME] || e[POINTS].length < 4) continue;
    const [x0, y0, x1, y1] = e[POINTS].slice(-4);
    pen.fillText(e[NAME], (x0 + x1) / 2 + 5, (y0 + y1) / 2 + 3);
  }
}

function paintBox(n, k, scale, matches) {
  const kind = COLOR_OF[n[KIND]] || n[KIND];
  const left = n[X] - n[W] / 2, top = n[Y] - n[H] / 2;
  pen.fillStyle = state.colors[kind] || state.colors.operation;
  if (scale < 0.2) {
    pen.fillStyle = k === state.selected ? state.colors.accent : matches ? state.colors.found : state.colors[`${kind}-rule`];
    pen.fillRect(left, top, n[W], n[H]);
    return;
  }
  pen.beginPath();
  pen.roundRect(left, top, n[W], n[H], kind === "operation" ? 12 : 5);
  pen.fill();
  const marked = k === state.selected || matches;
  pen.strokeStyle = k === state.selected ? state.colors.accent : matches ? state.colors.found : state.colors[`${kind}-rule`];
  pen.lineWidth = Math.max(marked ? 2.6 : 1.1, (marked ? 2 : 0.8) / scale);
  pen.setLineDash(n[KIND] === "constant" ? [4, 3] : []);
  pen.stroke();
  pen.setLineDash([]);
  if (scale * 13 < 5) return;
  pen.textAlign = "center";
  pen.fillStyle = state.colors.ink;
  pen.font = `600 13px ${FONT}`;
  pen.fillText(n[LABEL], n[X], n[Y] + (n[SECOND] ? -2 : 4.5), n[W] - 8);
  if (!n[SECOND]) return;
  pen.fillStyle = state.colors.faint;
  pen.font = `11px ${FONT}`;
  pen.fillText(n[SECOND], n[X], n[Y] + 13, n[W] - 8);
}

// -- the camera: (x, y) is what is in the upper left corner --

function fitted(view, least = 0.004) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.max(Math.min((width - 40) / view.width, (height - 70) / view.height, 1.3), least);
  const x = view.width * scale < width ? (view.width - width / scale) / 2 : view.nodes[0][X] - width / scale / 2;
  const y = view.height * scale < height ? (view.height - height / scale) / 2 : -20 / scale;
  return { x, y, scale };
}

// Where a view begins: all of it if that can be read, or else its first box.
const home = (view) => fitted(view, 0.5);

function aim() {
  if (canvas.clientWidth && current().nodes.length) current().camera ||= home(current());
  draw();
}

function zoom(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
  const camera = current().camera;
  if (!camera) return;
  const scale = Math.min(Math.max(camera.scale * factor, 0.004), 6);
  current().moved = true;
  camera.x += px / camera.scale - px / scale;
  camera.y += py / camera.scale - py / scale;
  camera.scale = scale;
  draw();
}

function pan(dx, dy) {
  const camera = current().camera;
  if (!camera) return;
  current().moved = true;
  camera.x -= dx / camera.scale;
  camera.y -= dy / camera.scale;
  draw();
}

function reveal(k) {
  // Bring a box into sight, large enough to be read.
  const view = current(), n = view.nodes[k];
  const camera = (view.camera = view.camera || home(view));
  if (camera.scale < 0.5) camera.scale = 0.9;
  const width = canvas.clientWidth / camera.scale, height = canvas.clientHeight / camera.scale;
  const inside = n[X] - n[W] / 2 > camera.x && n[X] + n[W] / 2 < camera.x + width && n[Y] - 40 > camera.y && n[Y] + 40 < camera.y + height;
  if (!inside) {
    view.moved = true;
    camera.x = n[X] - width / 2;
    camera.y = n[Y] - height / 2;
  }
  draw();
}

function at(px, py) {
  const view = current();
  if (!view.camera) return -1;
  const x = view.camera.x + px / view.camera.scale, y = view.camera.y + py / view.camera.scale;
  const slack = Math.max(0, 8 / view.camera.scale - 8);
  return view.nodes.findIndex((n) => Math.abs(x - n[X]) <= n[W] / 2 + slack && Math.abs(y - n[Y]) <= n[H] / 2 + slack);
}

// -- what is told --

function element(tag, text = "", name = "") {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function button(text, action) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function tell() {
  const panel = $("panel");
  panel.replaceChildren();
  panel.classList.toggle("idle", state.selected < 0);
  panel.scrollTop = 0;
  if (state.selected < 0) return tellAll(panel);
  const view = current(), n = view.nodes[state.selected], detail = data.details[n[DETAIL]];
  panel.append(element("h2", detail.title), element("p", WORDS[n[KIND]] || n[KIND], "kind"));
  const list = element("dl");
  for (const [name, text, style] of detail.rows) {
    const value = element("dd");
    if (style === "code") value.append(element("pre", text));
    else if (style === "link") value.append(button(`show ${name}`, () => jump(Number(text))));
    else value.textContent = text;
    list.append(element("dt", style === "link" ? "runs in" : name), value);
  }
  tellNeighbours(list, "from", view.into[state.selected].map((k) => view.edges[k][SOURCE]));
  tellNeighbours(list, "to", view.outOf[state.selected].map((k) => view.edges[k][TARGET]));
  panel.append(list);
}

function tellNeighbours(list, name, nodes) {
  if (!nodes.length) return;
  const value = element("dd");
  for (const k of nodes.slice(0, 24)) value.append(button(current().nodes[k][LABEL], () => select(k)));
  if (nodes.length > 24) value.append(element("span", `and ${nodes.length - 24} more`));
  list.append(element("dt", name), value);
}

function tellAll(panel) {
  const view = current();
  panel.append(element("h2", view.name));
  const count = isList(view) ? `${data[view.key].count.toLocaleString("en")} rows` : `${view.nodes.length.toLocaleString("en")} boxes`;
  panel.append(element("p", count, "kind"));
  for (const note of [view.note, ...data.notes]) if (note) panel.append(element("p", note));
  const keys = [
    ["click", "what a box is"], ["drag, wheel", "move, zoom"], ["/", "search; Enter goes on"],
    ["arrows", "follow lines; with Shift, move"], ["+  -  0", "zoom; show all"], ["1 to 5", "views"],
    ["Esc", "let go"],
  ];
  const list = element("dl");
  for (const [key, meaning] of keys) {
    const term = element("dt");
    term.append(element("kbd", key));
    list.append(term, element("dd", meaning));
  }
  panel.append(list);
}

// -- selecting, switching, searching --

function select(k, show = true) {
  state.selected = k;
  tell();
  if (k >= 0 && show) reveal(k);
  draw();
}

function jump(detail) {
  // Select the box with these details, in this view or in the first that has it.
  for (const view of [current(), ...views]) {
    const k = view.nodes.findIndex((n) => n[DETAIL] === detail);
    if (k >= 0) {
      if (view !== current()) go(view);
      return select(k);
    }
  }
}

function go(view) {
  const detail = state.selected >= 0 ? current().nodes[state.selected][DETAIL] : -1;
  state.view = view;
  for (const tab of $("views").children) tab.setAttribute("aria-selected", String(tab.dataset.key === view.key));
  const empty = !isList(view) && !view.nodes.length;
  for (const list of lists) $(list.key).hidden = view !== list;
  canvas.hidden = isList(view) || empty;
  $("banner").hidden = !empty;
  $("banner").textContent = empty ? view.empty || "Nothing to show." : "";
  $("open").hidden = !view.opened;
  for (const id of ["in", "out", "fit"]) $(id).disabled = canvas.hidden;
  aim();
  legend();
  state.selected = current().nodes.findIndex((n) => n[DETAIL] === detail);
  search();
  tell();
  if (state.selected >= 0) reveal(state.selected);
  draw();
}

function legend() {
  const kinds = [...new Set(current().nodes.map((n) => n[KIND]))];
  $("legend").replaceChildren(
    ...kinds.map((kind) => {
      const item = element("li"), mark = element("i"), color = COLOR_OF[kind] || kind;
      mark.style.background = `var(--${color})`;
      mark.style.borderColor = `var(--${color}-rule)`;
      item.append(mark, WORDS[kind] || kind);
      return item;
    }),
  );
}

function textOf(n) {
  const detail = data.details[n[DETAIL]];
  detail.text = detail.text || [detail.title, ...detail.rows.map((r) => r[1])].join("\n").toLowerCase();
  return `${n[LABEL].toLowerCase()}\n${n[SECOND]}\n${detail.text}`;
}

function search() {
  const words = $("search").value.trim().toLowerCase();
  const nodes = current().nodes;
  state.match = -1;
  state.matches = words ? nodes.flatMap((n, k) => (textOf(n).includes(words) ? [k] : [])) : [];
  // What is called so comes before what merely mentions it.
  state.matches.sort((a, b) => nodes[b][LABEL].toLowerCase().includes(words) - nodes[a][LABEL].toLowerCase().includes(words));
  $("found").textContent = words && !isList(current()) ? `${state.matches.length.toLocaleString("en")} found` : "";
  $("matches").replaceChildren(...state.matches.slice(0, 40).map(match));
  $("matches").hidden = !state.matches.length || document.activeElement !== $("search");
  for (const row of document.querySelectorAll(".listing li")) row.hidden = !row.textContent.toLowerCase().includes(words);
  draw();
}

function match(k) {
  const n = current().nodes[k], item = element("li");
  const made = button(n[LABEL], () => {
    $("matches").hidden = true;
    canvas.focus();
    select(k);
  });
  made.append(element("small", n[SECOND]));
  item.append(made);
  return item;
}

function nextMatch(step) {
  if (!state.matches.length) return;
  const count = state.matches.length;
  state.match = state.match < 0 ? (step > 0 ? 0 : count - 1) : (state.match + step + count) % count;
  $("found").textContent = `${state.match + 1} of ${count.toLocaleString("en")}`;
  $("matches").hidden = true;
  select(state.matches[state.match]);
}

function follow(key) {
  const view = current();
  if (!view.nodes.length) return;
  if (state.selected < 0) return select(0);
  const here = view.nodes[state.selected];
  const nearest = (nodes) => nodes.sort((a, b) => Math.abs(view.nodes[a][X] - here[X]) - Math.abs(view.nodes[b][X] - here[X]))[0];
  let to;
  if (key === "ArrowDown") to = nearest(view.outOf[state.selected].map((k) => view.edges[k][TARGET]));
  else if (key === "ArrowUp") to = nearest(view.into[state.selected].map((k) => view.edges[k][SOURCE]));
  else {
    const side = key === "ArrowRight" ? 1 : -1;
    const beside = view.nodes.flatMap((n, k) => ((n[X] - here[X]) * side > 1 && Math.abs(n[Y] - here[Y]) < 30 ? [k] : []));
    to = nearest(beside);
  }
  if (to !== undefined) select(to);
}

// -- lists: memory and time --

function fillList(key) {
  const { summary, rows, count } = data[key];
  const section = $(key), list = element("ol");
  summary.forEach((line) => section.append(element("p", line)));
  const largest = Math.max(1e-9, ...rows.map((row) => row.bytes));
  for (const row of rows) {
    const item = element("li", "", row.costs ? "" : "free");
    const made = button("", () => row.detail >= 0 && jump(row.detail));
    const bar = element("span", "", "bar");
    bar.style.width = `${(100 * row.bytes) / largest}%`;
    made.append(bar, element("span", row.size, "size"), element("span", row.what), element("span", row.where, "where"));
    if (row.source) made.append(element("code", row.source));
    if (!row.costs) made.append(element("span", row.state, "state"));
    item.append(made);
    list.append(item);
  }
  section.append(list);
  if (count > rows.length) section.append(element("p", `and ${(count - rows.length).toLocaleString("en")} smaller ones`));
}

// -- light and dark --

function dye() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "faint", "accent", "found", "line", "saved-line", "frame", "frame-rule"];
  for (const kind of KINDS) names.push(kind, `${kind}-rule`);
  for (const name of names) state.colors[name] = style.getPropertyValue(`--${name}`).trim();
  draw();
}

function paintTheme(theme) {
  document.documentElement.dataset.theme = theme;
  dye();
}

// -- events --

const touches = new Map();
let moved = 0;

canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  touches.set(e.pointerId, [e.offsetX, e.offsetY]);
  if (touches.size === 1) moved = 0;
});

canvas.addEventListener("pointermove", (e) => {
  const before = touches.get(e.pointerId);
  if (!before) return canvas.classList.toggle("over", at(e.offsetX, e.offsetY) >= 0);
  const [dx, dy] = [e.offsetX - before[0], e.offsetY - before[1]];
  moved += Math.abs(dx) + Math.abs(dy);
  touches.set(e.pointerId, [e.offsetX, e.offsetY]);
  if (touches.size === 1) {
    canvas.classList.add("dragging");
    return pan(dx, dy);
  }
  const other = [...touches].find(([id]) => id !== e.pointerId)[1];
  const gap = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
  pan(dx / 2, dy / 2);
  zoom(gap([e.offsetX, e.offsetY]) / gap(before), (e.offsetX + other[0]) / 2, (e.offsetY + other[1]) / 2);
});

function release(e) {
  const clicked = e.type === "pointerup" && touches.size === 1 && moved < 6;
  touches.delete(e.pointerId);
  canvas.classList.remove("dragging");
  if (clicked) select(at(e.offsetX, e.offsetY), false);
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);

canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  const lines = e.deltaMode === 1 ? 16 : 1;
  zoom(Math.exp(-e.deltaY * lines * (e.ctrlKey ? 0.01 : 0.0016)), e.offsetX, e.offsetY);
}, { passive: false });

canvas.addEventListener("dblclick", () => {
  if (state.view.opened) toggleOpen();
});

function toggleOpen() {
  const detail = state.selected >= 0 ? current().nodes[state.selected][DETAIL] : -1;
  state.opened = !state.opened;
  aim();
  $("open").setAttribute("aria-pressed", String(state.opened));
  state.selected = current().nodes.findIndex((n) => n[DETAIL] === detail);
  legend();
  search();
  tell();
  draw();
}

$("open").addEventListener("click", toggleOpen);
$("in").addEventListener("click", () => zoom(1.3));
$("out").addEventListener("click", () => zoom(1 / 1.3));
$("fit").addEventListener("click", fit);
$("theme").addEventListener("click", () => paintTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("search").addEventListener("input", search);
$("search").addEventListener("focus", search);
$("search").addEventListener("keydown", (e) => {
  if (e.key === "Enter") nextMatch(e.shiftKey ? -1 : 1);
});
document.addEventListener("pointerdown", (e) => {
  if (!$("searching").contains(e.target)) $("matches").hidden = true;
});

function fit() {
  if (!canvas.hidden) current().camera = fitted(current());
  draw();
}

document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") return escapeKey();
  if (e.target === $("search") || e.ctrlKey || e.metaKey || e.altKey) return;
  const moves = { ArrowUp: [0, 70], ArrowDown: [0, -70], ArrowLeft: [70, 0], ArrowRight: [-70, 0] };
  if (e.key === "/") $("search").focus();
  else if (e.key === "+" || e.key === "=") zoom(1.3);
  else if (e.key === "-") zoom(1 / 1.3);
  else if (e.key === "0") fit();
  else if (e.key in moves && !canvas.hidden) e.shiftKey ? pan(...moves[e.key]) : follow(e.key);
  else if ("12345".includes(e.key)) go(tabs[Number(e.key) - 1]);
  else return;
  e.preventDefault();
});

function escapeKey() {
  $("search").value = "";
  canvas.focus();
  search();
  select(-1);
}

// -- start --

for (const view of tabs) {
  const tab = button(view.name, () => go(view));
  tab.setAttribute("role", "tab");
  tab.dataset.key = view.key;
  $("views").append(tab);
}
$("title").textContent = data.title;
$("title").title = data.title;
lists.forEach((list) => fillList(list.key));
const dark = window.matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => paintTheme(dark.matches ? "dark" : "light"));
paintTheme(dark.matches ? "dark" : "light");
new ResizeObserver(() => {
  for (const view of views.flatMap((v) => [v, v.opened || v])) if (!view.moved) view.camera = null;
  aim();
}).observe(canvas);
go(views[0]);

// For scripts: where a box is on the screen, and what is shown.
window.explorer = {
  place(label, view = current()) {
    const n = view.nodes.find((x) => x[LABEL] === label);
    if (!n || !view.camera) return null;
    const box = canvas.getBoundingClientRect(), { x, y, scale } = view.camera;
    return [box.left + (n[X] - x) * scale, box.top + (n[Y] - y) * scale];
  },
  get view() { return current().key; },
  get selected() { return state.selected >= 0 ? current().nodes[state.selected][LABEL] : null; },
  get scale() { return current().camera?.scale; },
};

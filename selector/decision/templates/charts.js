"use strict";
const W = 900, H = 430, L = 62, R = 20, T = 16, B = 48;
const SHAPES = {
  circle: "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z",
  square: "M-4.5 -4.5H4.5V4.5H-4.5Z",
  diamond: "M0 -6L6 0L0 6L-6 0Z",
  up: "M0 -6L5.5 4.5H-5.5Z",
  down: "M0 6L5.5 -4.5H-5.5Z",
  plus: "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
  cross: "M-6 -3L-3 -6L0 -3L3 -6L6 -3L3 0L6 3L3 6L0 3L-3 6L-6 3L-3 0Z",
};

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(low, high) {
  const raw = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((each) => each * unit >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step / 1e6; v += step) found.push(+v.toPrecision(6));
  return found;
}

function range(values) {
  const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - pad, high + pad];
}

function front(data, points, x, y) {
  const sx = data.axes[x].better, sy = data.axes[y].better;
  const sorted = [...points].sort((a, b) => sx * (b.at[x] - a.at[x]) || sy * (b.at[y] - a.at[y]));
  let best = -Infinity;
  return sorted.filter((each) => sy * each.at[y] > best && (best = sy * each.at[y], true));
}

function drawn(data, x, y) {
  const points = data.points.filter((each) => x in each.at && y in each.at);
  const line = data.lines[x];
  const [x0, x1] = range([...points.map((each) => each.at[x]), ...(line ? [line[1]] : [])]);
  const [y0, y1] = range(points.map((each) => each.at[y]));
  const X = (v) => L + (v - x0) / (x1 - x0) * (W - L - R), Y = (v) => H - B - (v - y0) / (y1 - y0) * (H - T - B);
  const svg = element("svg", {viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `${data.axes[y].says} against ${data.axes[x].says}`});
  const grid = svg.appendChild(element("g", {class: "grid"}));
  for (const v of ticks(x0, x1)) {
    grid.append(element("path", {d: `M${X(v)} ${T}V${H - B}`}), element("text", {x: X(v), y: H - B + 17, "text-anchor": "middle"}, v));
  }
  for (const v of ticks(y0, y1)) {
    grid.append(element("path", {d: `M${L} ${Y(v)}H${W - R}`}), element("text", {x: L - 7, y: Y(v) + 4, "text-anchor": "end"}, v));
  }
  svg.append(element("text", {x: (L + W - R) / 2, y: H - 8, "text-anchor": "middle"}, data.axes[x].says),
    element("text", {transform: `translate(14 ${(T + H - B) / 2}) rotate(-90)`, "text-anchor": "middle"}, data.axes[y].says));
  if (line) {
    svg.append(element("path", {d: `M${X(line[1])} ${T}V${H - B}`, stroke: "#222", "stroke-dasharray": "5 4"}),
      element("text", {x: X(line[1]) - 5, y: H - B - 8, "text-anchor": "end"}, line[0]));
  }
  const stairs = front(data, points, x, y).map((each, i) => (i ? `H${X(each.at[x])}V${Y(each.at[y])}` : `M${X(each.at[x])} ${Y(each.at[y])}`));
  svg.append(element("path", {d: stairs.join(""), stroke: "#999", fill: "none"}));
  for (const each of points) {
    const [colour, shape] = data.styles[each.method];
    const mark = element("path", {d: SHAPES[shape], fill: colour, "fill-opacity": .8, transform: `translate(${X(each.at[x])} ${Y(each.at[y])})`});
    mark.append(element("title", {}, `${each.name}\n${data.axes[x].says}: ${+each.at[x].toPrecision(4)}\n${data.axes[y].says}: ${+each.at[y].toPrecision(4)}`));
    svg.append(mark);
    if (each.chosen) {
      const right = X(each.at[x]) > W / 2;
      svg.append(element("circle", {cx: X(each.at[x]), cy: Y(each.at[y]), r: 11, fill: "none", stroke: "#222", "stroke-width": 1.5}),
        element("text", {x: X(each.at[x]) + (right ? -16 : 16), y: Y(each.at[y]) + 4, "text-anchor": right ? "end" : "start"}, each.name));
    }
  }
  return svg;
}

function legend(data) {
  const made = document.createElement("p");
  made.className = "legend";
  for (const method in data.styles) {
    const [colour, shape] = data.styles[method], span = document.createElement("span");
    const svg = element("svg", {viewBox: "-7 -7 14 14"});
    svg.append(element("path", {d: SHAPES[shape], fill: colour}));
    span.append(svg, ` ${method}`);
    made.append(span);
  }
  return made;
}

for (const script of document.querySelectorAll("script.chart")) {
  const data = JSON.parse(script.textContent), figure = document.createElement("figure"), form = document.createElement("form");
  const picked = {x: data.x, y: data.y}, draw = () => figure.replaceChildren(drawn(data, picked.x, picked.y));
  for (const [side, says] of [["y", "up: "], ["x", "across: "]]) {
    const label = document.createElement("label"), select = document.createElement("select");
    for (const key in data.axes) select.add(new Option(data.axes[key].says, key, key === data[side], key === data[side]));
    select.addEventListener("change", () => { picked[side] = select.value; draw(); });
    label.append(says, select);
    form.append(label);
  }
  script.after(form, figure, legend(data));
  draw();
}

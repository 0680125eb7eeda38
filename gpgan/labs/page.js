"use strict";
const SHAPES = ["M-3 0A3 3 0 1 0 3 0A3 3 0 1 0 -3 0Z", "M0 -4L4 0L0 4L-4 0Z", "M0 -4L4 3L-4 3Z", "M-3 -3H3V3H-3Z"];
function make(parent, tag, attributes, text) {
  const svg = tag === "svg" || parent.namespaceURI === "http://www.w3.org/2000/svg";
  const element = document.createElementNS("http://www.w3.org/" + (svg ? "2000/svg" : "1999/xhtml"), tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
}
function short(value) {
  const rounded = Number(value.toPrecision(5));
  return String(rounded === 0 ? 0 : rounded).replace("-", "\u2212");
}
function range(values) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low - room, high + room];
}
function ticks([low, high], most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(times => times * power >= raw);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toPrecision(9)));
  return found;
}
// Room around a chart's frame for the numbers and names of its axes.
const LEFT = 46, RIGHT = 12, TOP = 22, BOTTOM = 38, ACROSS = LEFT + RIGHT, ALONG = TOP + BOTTOM;
// An empty chart: where x and y of the data lie in it, and its <svg>.
function chart(parent, names, width, height, xs, ys, most) {
  const left = LEFT, top = TOP, right = width - RIGHT, bottom = height - BOTTOM;
  const x = value => left + (value - xs[0]) / (xs[1] - xs[0]) * (right - left);
  const y = value => bottom - (value - ys[0]) / (ys[1] - ys[0]) * (bottom - top);
  const svg = make(parent, "svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": names.spoken});
  make(svg, "text", {x: left, y: 14}, names.title);
  make(svg, "text", {class: "name", x: (left + right) / 2, y: height - 6, "text-anchor": "middle"}, names.x);
  if (names.y) make(svg, "text", {class: "name", x: 4, y: (top + bottom) / 2}, names.y);
  make(svg, "rect", {class: "frame", x: left, y: top, width: right - left, height: bottom - top});
  for (const at of ticks(xs, most))
    make(svg, "text", {class: "x", x: x(at), y: bottom + 16, "text-anchor": "middle"}, short(at));
  for (const at of ticks(ys, most))
    make(svg, "text", {class: "y", x: left - 6, y: y(at) + 4, "text-anchor": "end"}, short(at));
  return {x, y, svg};
}
function build(figure) {
  const slider = JSON.parse(figure.querySelector("script").textContent);
  const input = figure.querySelector("input"), at = figure.querySelector("output");
  const clouds = Object.entries(slider.clouds), draws = [];
  const spoken = make(figure, "dl", {class: "readings", "aria-live": "polite"});
  const views = make(figure, "div", {class: "views"});
  if (clouds.length) {
    const left = make(views, "div");
    const all = clouds.flatMap(([, positions]) => positions.flat());
    const xs = range(all.map(p => p[0])), ys = range(all.map(p => p[1]));
    // One scale for both axes, so that distances are seen as they are, within a picture that is not too flat or high.
    const width = 460, exact = ALONG + (width - ACROSS) * (ys[1] - ys[0]) / (xs[1] - xs[0]);
    const height = Math.min(460, Math.max(190, exact));
    const unit = Math.max((xs[1] - xs[0]) / (width - ACROSS), (ys[1] - ys[0]) / (height - ALONG));
    for (const [axis, pixels] of [[xs, width - ACROSS], [ys, height - ALONG]]) {
      const rest = (unit * pixels - (axis[1] - axis[0])) / 2;
      axis[0] -= rest;
      axis[1] += rest;
    }
    const title = clouds.map(([name]) => name).join(" and ");
    const plane = chart(left, {spoken: title, title, x: "x", y: "y"}, width, height, xs, ys, 5);
    const points = make(plane.svg, "g", {class: "points"}), legend = make(left, "ul", {class: "legend"});
    clouds.forEach(([name], i) => {
      const item = make(legend, "li"), mark = make(item, "svg", {viewBox: "-5 -5 10 10", "aria-hidden": "true"});
      make(mark, "path", {class: "c" + i % 4, d: SHAPES[i % 4]});
      item.append(name);
    });
    draws.push(now => {
      points.replaceChildren();
      clouds.forEach(([name, positions], i) => {
        const cloud = make(points, "g", {class: "c" + i % 4, "data-cloud": name});
        for (const [px, py] of positions[now])
          make(cloud, "path", {d: SHAPES[i % 4], transform: `translate(${plane.x(px)} ${plane.y(py)})`});
      });
    });
  }
  for (const [name, values] of Object.entries(slider.readings)) {
    const pair = make(spoken, "div");
    make(pair, "dt", {}, name);
    const value = make(make(pair, "dd"), "data");
    const names = {spoken: name + " against " + slider.label, title: name, x: slider.label};
    const small = chart(views, names, 320, 186, range(slider.positions), range(values), 4);
    const places = values.map((reading, i) => [small.x(slider.positions[i]), small.y(reading)]);
    if (slider.joined) make(small.svg, "polyline", {class: "curve", points: places.join(" ")});
    else {
      const dots = make(small.svg, "g", {class: "dots"});
      for (const [cx, cy] of places) make(dots, "circle", {cx, cy, r: 2});
    }
    const marker = make(small.svg, "circle", {class: "now", r: 5});
    draws.push(now => {
      value.value = values[now];
      value.textContent = short(values[now]);
      marker.setAttribute("cx", small.x(slider.positions[now]));
      marker.setAttribute("cy", small.y(values[now]));
    });
  }
  const draw = () => {
    const now = Number(input.value);
    at.textContent = short(slider.positions[now]);
    input.setAttribute("aria-valuetext", short(slider.positions[now]));
    draws.forEach(one => one(now));
  };
  input.addEventListener("input", draw);
  draw();
}
document.querySelectorAll(".slider").forEach(build);

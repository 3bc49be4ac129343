// Plots, drawn as SVG.

import { el, plain, short } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 168;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const WINDOW_MS = 300000;
const MOST_LINES = 6;

function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

// A plot of series stacked on one another, the largest at the bottom; what is beyond the number of colours is "others".
// `whole`: as shares of the sum.
export class Plot {
  constructor(host, { title, unit, whole = false, tone = "" }) {
    Object.assign(this, { title, unit, whole, tone });
    this.width = 0;
    this.hover = null;
    this.colours = new Map();
    this.canvas = svg("svg", { role: "img", class: `plot ${tone}`, height: HEIGHT });
    this.label = svg("title");
    this.legend = el("ul", { class: "legend" });
    host.append(this.canvas, this.legend);
    new ResizeObserver(() => this.draw()).observe(host);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
  }

  // times: ms; lines: [{ name, values }], a value or null a time.
  update(times, lines) {
    this.times = times;
    this.lines = folded(lines, this.colours);
    this.draw();
  }

  point(event) {
    this.hover = event ? event.clientX - this.canvas.getBoundingClientRect().left : null;
    this.draw();
  }

  draw() {
    if (!this.times) return;
    const width = Math.floor(this.canvas.parentElement.clientWidth);
    if (width < 60) return;
    const end = this.times.at(-1) ?? 0;
    const x = (at) => LEFT + (width - LEFT - RIGHT) * (1 - (end - at) / WINDOW_MS);
    const stacks = stacked(this.times, this.lines, this.whole);
    const most = this.whole ? 1 : nice(Math.max(0, ...stacks.sums.filter((s) => s !== null)));
    const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * Math.min(1, value / most);
    const parts = [this.label, ...this.axes(width, most, y)];
    stacks.layers.forEach((layer, n) => {
      const d = area(this.times, layer.low, layer.high, x, y);
      if (d) parts.push(svg("path", { d, class: `area s${this.lines[n].colour}` }));
    });
    const at = this.chosen(x);
    if (at !== null && this.hover !== null) {
      const place = x(this.times[at]).toFixed(1);
      parts.push(svg("line", { x1: place, x2: place, y1: TOP, y2: HEIGHT - BOTTOM, class: "cross" }));
    }
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.canvas.setAttribute("width", width);
    this.canvas.replaceChildren(...parts);
    this.describe(at, stacks);
  }

  axes(width, most, y) {
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const at = y(most * part).toFixed(1);
      parts.push(svg("line", { x1: LEFT, x2: width - RIGHT, y1: at, y2: at, class: "grid" }));
      const text = svg("text", { x: LEFT - 6, y: Number(at) + 4, class: "tick", "text-anchor": "end" });
      text.textContent = this.whole ? `${part * 100} %` : short(most * part);
      parts.push(text);
    }
    const inner = width - LEFT - RIGHT;
    const marks = inner > 420 ? [5, 4, 3, 2, 1] : [5, 3, 1];
    for (const minutes of marks) {
      const place = LEFT + inner * (1 - (minutes * 60000) / WINDOW_MS);
      const text = svg("text", { x: place, y: HEIGHT - 5, class: "tick", "text-anchor": minutes === 5 ? "start" : "middle" });
      text.textContent = `−${minutes} min`;
      parts.push(text);
    }
    const now = svg("text", { x: width - RIGHT, y: HEIGHT - 5, class: "tick", "text-anchor": "end" });
    now.textContent = "now";
    return [...parts, now];
  }

  // The moment under the pointer, or the newest.
  chosen(x) {
    if (!this.times.length) return null;
    if (this.hover === null) return this.times.length - 1;
    let best = 0;
    this.times.forEach((at, n) => {
      if (Math.abs(x(at) - this.hover) < Math.abs(x(this.times[best]) - this.hover)) best = n;
    });
    return best;
  }

  describe(at, stacks) {
    const said = [];
    const items = this.lines.map((line) => {
      const value = at === null ? null : line.values[at];
      const sum = at === null ? null : stacks.sums[at];
      const text = this.whole ? (sum ? `${((100 * (value ?? 0)) / sum).toFixed(1)} %` : "–") : short(value);
      said.push(`${line.name} ${text}`);
      return el("li", {}, el("span", { class: `swatch s${line.colour}` }), el("bdi", {}, line.name), el("b", {}, text));
    });
    const none = this.lines.length ? [] : [el("li", { class: "none" }, "none in the last 5 minutes")];
    this.legend.replaceChildren(...items, ...none);
    const when = this.hover !== null && at !== null ? ` at ${new Date(this.times[at]).toLocaleTimeString()}` : "";
    this.label.textContent = plain(`${this.title}, ${this.unit}${when}: ${said.join(", ") || "none"}`);
  }
}

// The largest lines, each with a colour; the rest summed.
function folded(lines, colours) {
  const sum = (line) => line.values.reduce((all, value) => all + (value ?? 0), 0);
  const busy = lines.map((line) => ({ ...line, sum: sum(line) })).filter((line) => line.sum > 0 || line.keep);
  busy.sort((a, b) => b.sum - a.sum || (a.name < b.name ? -1 : 1));
  const kept = busy.slice(0, busy.length > MOST_LINES ? MOST_LINES - 1 : MOST_LINES);
  const rest = busy.slice(kept.length);
  if (rest.length) {
    const values = rest[0].values.map((_, n) => rest.reduce((all, line) => all + (line.values[n] ?? 0), 0));
    kept.push({ name: `${rest.length} others`, values, others: true });
  }
  for (const name of colours.keys()) if (!kept.some((line) => line.name === name)) colours.delete(name);
  return kept.map((line) => ({ ...line, colour: line.others ? "x" : colour(line.name, colours) }));
}

// The one it had, or the first that is free.
function colour(name, colours) {
  if (!colours.has(name)) {
    const used = new Set(colours.values());
    colours.set(name, [...Array(MOST_LINES).keys()].find((n) => !used.has(n)) ?? "x");
  }
  return colours.get(name);
}

// Lower and upper edges of each line, and the sums; null where nothing is known.
function stacked(times, lines, whole) {
  const sums = times.map((_, n) => {
    const known = lines.filter((line) => line.values[n] !== null && line.values[n] !== undefined);
    return known.length ? known.reduce((all, line) => all + line.values[n], 0) : null;
  });
  const floor = times.map(() => 0);
  const layers = lines.map((line) => {
    const low = [...floor];
    const high = times.map((_, n) => {
      if (sums[n] === null || (whole && sums[n] === 0)) return null;
      floor[n] += (line.values[n] ?? 0) / (whole ? sums[n] : 1);
      return floor[n];
    });
    return { low, high };
  });
  return { sums, layers };
}

// A path of closed shapes, one for each run of known values that no hole in time interrupts.
function area(times, low, high, x, y) {
  const runs = [];
  let run = [];
  times.forEach((at, n) => {
    const hole = n > 0 && at - times[n - 1] > 4000;
    if ((high[n] === null || hole) && run.length) {
      runs.push(run);
      run = [];
    }
    if (high[n] !== null && x(at) >= LEFT) run.push(n);
  });
  if (run.length) runs.push(run);
  const point = (n, value) => `${x(times[n]).toFixed(1)} ${y(value).toFixed(1)}`;
  return runs
    .filter((ns) => ns.length > 1)
    .map((ns) => {
      const up = ns.map((n) => point(n, high[n])).join("L");
      const back = [...ns].reverse().map((n) => point(n, low[n])).join("L");
      return `M${up}L${back}Z`;
    })
    .join("");
}

// A round number that is no less.
function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}

// A small line without axes.
export function spark(canvas, values) {
  const known = values.map((value) => value ?? 0);
  const most = Math.max(1e-9, ...known);
  const step = 100 / Math.max(1, known.length - 1);
  const d = known.map((value, n) => `${n ? "L" : "M"}${(n * step).toFixed(1)} ${(23 - 21 * (value / most)).toFixed(1)}`).join("");
  canvas.replaceChildren(svg("path", { d: known.length > 1 ? d : "", class: "spark", "vector-effect": "non-scaling-stroke" }));
}

export function sparkCanvas() {
  return svg("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", class: "sparkbox", "aria-hidden": "true" });
}

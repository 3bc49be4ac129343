// Tables that are brought up to date in place: rows keep their elements, so that a selection, the focus and the place
// of the eye stay where they are.

import { el, plain } from "./text.js";

const FEW = 15;

// columns: { title, right, rank, cell(row) -> text | Node | { text, tone } , order(row) -> number | string }
export class Table {
  constructor(host, { caption, columns, key, empty, sort = null, down = false, filter = false }) {
    Object.assign(this, { columns, key, empty, sort, down });
    this.rows = [];
    this.shown = new Map();
    this.wanted = "";
    this.all = false;
    this.heads = columns.map((column, n) => this.head(column, n));
    this.body = el("tbody");
    this.note = el("p", { class: "none", hidden: true }, empty);
    this.more = el("button", { type: "button", class: "more", hidden: true });
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      this.draw();
    });
    const table = el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, this.heads)), this.body);
    if (filter) host.append(this.filter(caption));
    host.append(el("div", { class: "scroll" }, table), this.note, this.more);
  }

  head(column, n) {
    const button = el("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      this.down = this.sort === n ? !this.down : Boolean(column.right);
      this.sort = n;
      this.draw();
    });
    return el("th", { scope: "col", class: classes(column) }, button);
  }

  filter(caption) {
    const input = el("input", { type: "search", placeholder: "filter", "aria-label": `filter ${caption}`, maxlength: 60 });
    input.addEventListener("input", () => {
      this.wanted = input.value.toLowerCase();
      this.draw();
    });
    return el("div", { class: "filter" }, input);
  }

  update(rows) {
    this.rows = rows;
    this.draw();
  }

  arranged() {
    const rows = this.wanted ? this.rows.filter((row) => this.text(row).includes(this.wanted)) : [...this.rows];
    const column = this.columns[this.sort];
    if (!column) return rows;
    const order = column.order ?? ((row) => text(column.cell(row)));
    const sign = this.down ? -1 : 1;
    return rows.sort((a, b) => sign * compare(order(a), order(b)));
  }

  text(row) {
    return this.columns.map((column) => text(column.cell(row))).join(" ").toLowerCase();
  }

  draw() {
    this.heads.forEach((head, n) => {
      const order = this.down ? "descending" : "ascending";
      head.setAttribute("aria-sort", this.sort === n ? order : "none");
    });
    const rows = this.arranged();
    const few = this.all ? rows : rows.slice(0, FEW);
    const before = this.shown;
    this.shown = new Map();
    let at = this.body.firstChild;
    for (const row of few) {
      const key = this.key(row);
      const line = before.get(key) ?? this.line();
      before.delete(key);
      this.shown.set(key, line);
      this.columns.forEach((column, n) => put(line.cells[n], column.cell(row)));
      if (line === at) at = at.nextSibling;
      else this.body.insertBefore(line, at);
    }
    for (const line of before.values()) line.remove();
    this.note.hidden = rows.length > 0;
    this.note.textContent = this.wanted ? "nothing has that in it" : this.empty;
    this.more.hidden = rows.length <= FEW;
    this.more.textContent = this.all ? `show ${FEW} of ${rows.length}` : `show all ${rows.length}`;
  }

  line() {
    return el("tr", {}, this.columns.map((column, n) => el(n ? "td" : "th", { scope: n ? null : "row", class: classes(column) })));
  }
}

function classes(column) {
  return [column.right && "number", column.free && "free", column.rank && `rank${column.rank}`].filter(Boolean).join(" ") || null;
}

function text(cell) {
  if (cell instanceof Node) return cell.textContent;
  return plain(cell !== null && typeof cell === "object" ? cell.text : cell);
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

// Puts a value into a cell, unless it stands there already.
function put(element, value) {
  if (value instanceof Node) {
    if (!element.firstChild || !element.firstChild.isEqualNode(value)) element.replaceChildren(value);
    return;
  }
  const tone = (value !== null && typeof value === "object" && value.tone) || "";
  const wanted = text(value);
  if (element.dataset.tone !== tone) element.dataset.tone = tone;
  if (element.textContent !== wanted || element.firstElementChild) element.textContent = wanted;
}

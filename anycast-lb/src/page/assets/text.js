// Text and numbers. Whatever comes from elsewhere goes through plain() and into the page as text, never as markup.

// Control characters, marks that take no room and those that turn the direction of what follows.
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const LONGEST = 400;

export function plain(value) {
  const text = String(value ?? "").replace(UNSHOWN, "\ufffd");
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

// An element with attributes and children; a child that is no node becomes text.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === undefined || child === null || child === "") continue;
    element.append(child instanceof Node ? child : plain(child));
  }
  return element;
}

const STEPS = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

// 0, 7.3, 942, 12.3 k, 123 M; what is not known is a dash.
export function short(number) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  if (number < 0.05) return "0";
  for (const [size, letter] of STEPS) {
    if (number >= size * 0.9995) return `${digits(number / size)} ${letter}`;
  }
  return digits(number);
}

function digits(number) {
  return number < 99.95 ? String(Math.round(number * 10) / 10) : String(Math.round(number));
}

export function share(ppm) {
  return ppm === null || ppm === undefined ? "–" : `${(ppm / 10000).toFixed(1)} %`;
}

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// The status page: asks the node once a second and draws what it says.

import { Plot, spark, sparkCanvas } from "./plot.js";
import { Table } from "./table.js";
import { el, plain, share, short, time } from "./text.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const STALE_MS = 5000;
const MOMENTS = 300;
// A browser needs a while to draw: samples that were missed beyond this are fetched as history.
const MOST_MISSED = 1;

const $ = (id) => document.getElementById(id);

// What is kept for the plots: columns of one value a moment.
const past = { begun: null, sequence: 0, times: [], packets: [], bits: [], dropped: [], sent: [], passed: [], vips: new Map(), drops: new Map(), backends: new Map() };
let answeredAt = null;
let trouble = null;

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const body = await response.json();
  return { response, body };
}

async function tick() {
  const begun = Date.now();
  try {
    const { response, body } = await ask("/api/state");
    if (!response.ok) throw new Error(body?.error?.message ?? `answer ${response.status}`);
    const missed = body.begun !== past.begun || body.sequence > past.sequence + 1 + MOST_MISSED;
    if (missed) await recall();
    if (body.sequence > past.sequence || body.begun !== past.begun) append(body);
    answeredAt = Date.now() - Number(response.headers.get("x-age-ms") ?? 0);
    trouble = null;
    show(body);
  } catch (error) {
    trouble = error.name === "TimeoutError" ? "it is silent" : "it cannot be reached";
  }
  age();
  setTimeout(tick, Math.max(50, EVERY_MS - (Date.now() - begun)));
}

// All that the node remembers, in place of what is known here.
async function recall() {
  const { response, body } = await ask("/api/history");
  if (!response.ok) return;
  Object.assign(past, { begun: body.begun, sequence: body.sequence, times: body.times, packets: body.packets, bits: body.bits, sent: body.sent, passed: body.passed, dropped: body.dropped });
  past.vips = new Map(body.vips.map((row) => [row.name, row.values]));
  past.drops = new Map(body.drops.map((row) => [row.name, row.values]));
  past.backends = new Map();
  for (const row of body.backends) of(past.backends, row.pool).set(row.name, row.values);
}

function of(map, key) {
  if (!map.has(key)) map.set(key, new Map());
  return map.get(key);
}

function append(state) {
  past.begun = state.begun;
  past.sequence = state.sequence;
  const { received, dropped, sent, passed } = state.totals;
  past.times.push(state.at_ms);
  past.packets.push(received?.packets ?? null);
  past.bits.push(received?.bits ?? null);
  past.dropped.push(dropped?.packets ?? null);
  past.sent.push(sent?.packets ?? null);
  past.passed.push(passed?.packets ?? null);
  const moments = past.times.length;
  keep(past.vips, state.vips.map((row) => [row.vip, row.rate]), moments);
  keep(past.drops, state.verdicts.filter((row) => row.kind === "drop").map((row) => [row.verdict, row.rate]), moments);
  for (const pool of state.pools) {
    const rows = state.backends.filter((row) => row.pool === pool.pool);
    keep(of(past.backends, pool.pool), rows.map((row) => [row.address, row.rate]), moments);
  }
  const names = new Set(state.pools.map((pool) => pool.pool));
  for (const name of past.backends.keys()) if (!names.has(name)) past.backends.delete(name);
  const over = past.times.length - MOMENTS;
  if (over > 0) {
    for (const column of [past.times, past.packets, past.bits, past.dropped, past.sent, past.passed]) column.splice(0, over);
    for (const map of [past.vips, past.drops, ...past.backends.values()]) for (const values of map.values()) values.splice(0, over);
  }
}

// One value more for each; what had none before begins with nothing, what is gone goes on with nothing.
function keep(map, rates, moments) {
  for (const [name, rate] of rates) {
    const packets = rate?.packets ?? null;
    if (!map.has(name)) {
      if (!packets) continue;
      map.set(name, new Array(moments - 1).fill(0));
    }
    map.get(name).push(packets);
  }
  for (const [name, values] of map) {
    while (values.length < moments) values.push(0);
    if (values.every((value) => !value)) map.delete(name);
  }
}

// --- what stands on the page

const tiles = [
  ["Received", "pkt/s", (t) => t.received?.packets, () => past.packets],
  ["Received", "bit/s", (t) => t.received?.bits, () => past.bits],
  ["Sent on", "pkt/s", (t) => t.sent?.packets, () => past.sent],
  ["Passed to the kernel", "pkt/s", (t) => t.passed?.packets, () => past.passed],
  ["Dropped", "pkt/s", (t) => t.dropped?.packets, () => past.dropped],
].map(([title, unit, value, values]) => {
  const number = el("span");
  const line = sparkCanvas();
  const tile = el("div", { class: title === "Dropped" ? "tile drop" : "tile" });
  tile.append(el("dl", {}, el("dt", {}, title), el("dd", {}, number, " ", el("small", {}, unit))), line);
  $("tiles").append(tile);
  return { tile, number, line, value, values, drops: title === "Dropped" };
});

const plots = {
  vips: new Plot($("plot-vips"), { title: "Packets by VIP", unit: "packets a second" }),
  bits: new Plot($("plot-bits"), { title: "Bits received", unit: "bits a second" }),
  drops: new Plot($("plot-drops"), { title: "Drops by reason", unit: "packets a second", tone: "drops" }),
  shares: new Plot($("plot-shares"), { title: "Share by backend", unit: "part of the pool's packets", whole: true }),
};

const tag = (word, tone) => el("span", { class: "tag", "data-tone": tone }, word);
const rate = (of) => (row) => ({ text: short(of(row)), tone: of(row) ? "" : "dim" });
const order = (of) => (row) => of(row) ?? -1;
const packets = (row) => row.rate?.packets;
const bits = (row) => row.rate?.bits;
const number = (title, of, rank) => ({ title, right: true, rank, cell: rate(of), order: order(of) });

const HEALTH = { up: "good", down: "bad" };
const STATES = { active: "good", gone: "unknown" };

function condition(row) {
  const draining = row.state !== "active";
  const word = draining ? row.state : row.health === "unknown" ? "active" : row.health;
  const tone = draining ? STATES[row.state] ?? "notable" : HEALTH[row.health] ?? "good";
  const both = draining && row.health === "down" ? [" ", tag("down", "bad")] : [];
  return el("span", {}, tag(word, tone), both);
}

// A share as a bar with a mark where the weight asks for it to end.
function bar(row) {
  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    return element;
  };
  const part = (ppm) => Math.min(100, (ppm ?? 0) / 10000).toFixed(1);
  const box = svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  const mark = Math.min(99, Math.max(1, part(row.asked_ppm)));
  box.append(svg("rect", { x: 0, y: 0, height: 10, width: part(row.taken_ppm) }));
  if (row.asked_ppm) box.append(svg("line", { x1: mark, x2: mark, y1: 0, y2: 10, "vector-effect": "non-scaling-stroke" }));
  return el("span", { class: "share" }, box, el("span", { class: "part" }, share(row.taken_ppm)));
}

const tables = {
  vips: new Table($("vips"), {
    caption: "VIPs", key: (row) => row.vip, empty: "no VIPs are configured", sort: 2, down: true, filter: true,
    columns: [
      { title: "VIP", cell: (row) => row.vip },
      { title: "Pool", rank: 2, cell: (row) => row.pool ?? "–" },
      number("Packets/s", packets),
      number("Bits/s", bits),
      number("Packets", (row) => row.packets, 2),
      number("Bytes", (row) => row.bytes, 3),
      { title: "Hash", rank: 3, cell: (row) => row.hash },
      { title: "With", free: true, rank: 3, cell: (row) => [row.second_chance && "second chance", row.quic && "QUIC", row.mss_clamp && "MSS clamp"].filter(Boolean).join(", ") || "–" },
    ],
  }),
  pools: new Table($("pools"), {
    caption: "Pools", key: (row) => row.pool, empty: "no pools are configured",
    columns: [
      { title: "Pool", cell: (row) => row.pool },
      { title: "Service", cell: (row) => tag(row.service, row.service === "healthy" ? "good" : row.service === "down" ? "bad" : "notable"), order: (row) => row.service },
      { title: "Serve", right: true, cell: (row) => `${row.active} of ${row.backends}`, order: (row) => row.active },
      number("Packets/s", packets),
      number("Bits/s", bits, 2),
      { title: "Carried by", rank: 2, cell: (row) => row.encapsulation },
      { title: "Check", free: true, rank: 3, cell: (row) => row.check ?? "none" },
      { title: "Fingerprint of owners", rank: 3, cell: (row) => row.owners },
    ],
  }),
  backends: new Table($("backends"), {
    caption: "Backends", key: (row) => `${row.pool} ${row.address}`, empty: "no backends are configured", filter: true,
    columns: [
      { title: "Backend", cell: (row) => el("span", {}, row.address, el("small", { class: "narrow" }, row.note.text)), order: (row) => row.address },
      { title: "Pool", rank: 2, cell: (row) => row.pool },
      { title: "State", cell: condition, order: (row) => `${row.state} ${row.health}` },
      number("Packets/s", packets),
      number("Bits/s", bits, 3),
      { title: "Share", right: true, cell: bar, order: (row) => row.taken_ppm ?? -1 },
      { title: "Asked", right: true, rank: 2, cell: (row) => share(row.asked_ppm), order: (row) => row.asked_ppm },
      { title: "Weight", right: true, rank: 3, cell: (row) => (row.weight === row.weight_in_force ? row.weight : `${row.weight_in_force} → ${row.weight}`), order: (row) => row.weight_in_force },
      { title: "PoP", rank: 3, cell: (row) => row.pop ?? home },
      { title: "Note", free: true, rank: 2, cell: (row) => ({ text: row.note.text, tone: row.note.standing }) },
    ],
  }),
  drops: new Table($("drops"), {
    caption: "Drops by reason", key: (row) => row.verdict, empty: "nothing was dropped", sort: 1, down: true,
    columns: [
      { title: "Reason", cell: (row) => el("span", {}, row.verdict, el("small", { class: "narrow" }, row.explanation)), order: (row) => row.verdict },
      number("Packets/s", packets),
      number("Packets", (row) => row.packets),
      { title: "Meaning", free: true, rank: 2, cell: (row) => row.explanation },
    ],
  }),
  sessions: new Table($("sessions"), {
    caption: "Prefixes, sessions, validators, other nodes", key: (row) => `${row.what} ${row.who}`,
    empty: "none are configured",
    columns: [
      { title: "Who", cell: (row) => el("span", {}, row.who, el("small", { class: "narrow" }, row.about)), order: (row) => row.who },
      { title: "What", cell: (row) => row.what },
      { title: "State", cell: (row) => tag(row.state, row.standing), order: (row) => row.state },
      { title: "Since", right: true, rank: 3, cell: (row) => time(row.since_seconds), order: (row) => row.since_seconds ?? -1 },
      { title: "About", free: true, rank: 2, cell: (row) => row.about },
    ],
  }),
};

let home = "";

function show(state) {
  const { node } = state;
  home = node.pop;
  set($("node"), node.node);
  document.title = `${plain(node.node)} – anycast-lb`;
  const words = [`PoP ${node.pop}`, node.role, `generation ${node.generation}`, `up ${time(node.uptime_seconds)}`];
  if (node.maintenance !== "in-service") words.push(node.maintenance);
  set($("about"), words.join(" · "));
  const nics = node.interfaces.map((i) => `${i.interface} ${i.mode ?? "not attached"}`).join(", ");
  set($("foot"), `anycast-lb ${node.version}, instance ${node.instance}, on ${nics || "no interface"}. This page only reads.`);
  for (const { tile, number: text, line, value, values, drops } of tiles) {
    const now = value(state.totals);
    set(text, short(now));
    tile.dataset.tone = drops && now > 0 ? "bad" : "";
    spark(line, values().slice(-120));
  }
  wrongs(state.wrongs);
  tables.vips.update(state.vips);
  tables.pools.update(state.pools);
  tables.backends.update(state.backends);
  tables.drops.update(state.verdicts.filter((row) => row.kind === "drop" && row.packets > 0));
  tables.sessions.update(state.sessions);
  pools(state.pools);
  known(state.vips);
  draw();
}

function set(element, text) {
  const wanted = plain(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

function draw() {
  const lines = (map) => [...(map ?? [])].map(([name, values]) => ({ name: plain(name), values }));
  plots.vips.update(past.times, lines(past.vips));
  plots.bits.update(past.times, [{ name: "received", values: past.bits, keep: true }]);
  plots.drops.update(past.times, lines(past.drops));
  plots.shares.update(past.times, lines(past.backends.get($("pool").value)));
}

const MOST_WRONGS = 6;
const SEVERITY = { error: "bad", warning: "notable" };
let allWrongs = false;
let wrongsShown = "";

function wrongs(rows) {
  const now = JSON.stringify([allWrongs, rows]);
  if (now === wrongsShown) return;
  wrongsShown = now;
  const shown = allWrongs ? rows : rows.slice(0, MOST_WRONGS);
  const lines = shown.map((row) => el("p", { class: "alarm", "data-tone": SEVERITY[row.severity] ?? "unknown" }, el("b", {}, row.what), el("bdi", {}, row.text)));
  if (rows.length > MOST_WRONGS) {
    const more = el("button", { type: "button", class: "more" }, allWrongs ? "show fewer" : `show all ${rows.length} alarms`);
    more.addEventListener("click", () => {
      allWrongs = !allWrongs;
      wrongs(rows);
    });
    lines.push(el("p", {}, more));
  }
  $("wrongs").replaceChildren(...lines);
  $("wrongs").hidden = !rows.length;
}

// The pool whose shares are plotted: the busiest, until somebody chooses.
function pools(rows) {
  const names = rows.map((row) => row.pool);
  const select = $("pool");
  const known = [...select.options].map((option) => option.value);
  if (JSON.stringify(known) === JSON.stringify(names)) return;
  const before = select.value;
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  const busiest = [...rows].sort((a, b) => (packets(b) ?? 0) - (packets(a) ?? 0))[0];
  select.value = names.includes(before) ? before : busiest?.pool ?? "";
}

function known(vips) {
  const first = vips.slice(0, 50).map((row) => row.vip.split("/")[0]).filter((name) => /:\d+$/.test(name));
  const list = $("known");
  const now = first.join(" ");
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  list.replaceChildren(...[...new Set(first)].map((name) => el("option", { value: name })));
}

// How old what is shown is.
function age() {
  const old = answeredAt === null ? null : Date.now() - answeredAt;
  const stale = trouble !== null || (old !== null && old > STALE_MS);
  document.body.classList.toggle("stale", stale && old !== null);
  const live = $("live");
  live.dataset.tone = stale ? "bad" : old === null ? "unknown" : "good";
  const since = old === null ? "" : ` since ${time(old / 1000)}`;
  set(live, stale ? `no answer${since}: ${trouble ?? "the daemon is busy"}` : old === null ? "connecting" : "live");
}

// --- trace a flow

const ROWS = [
  ["flow", (t) => `${t.protocol} ${t.source} → ${t.destination}`],
  ["verdict", (t) => `${t.verdict} (${t.kind}): ${t.explanation}`],
  ["VIP", (t) => t.vip],
  ["pool", (t) => t.pool],
  ["slot", (t) => t.slot],
  ["backend", (t) => t.backend],
  ["carried by", (t) => t.encapsulation],
  ["outer header", (t) => t.outer && `${t.outer.source} → ${t.outer.destination}${t.outer.source_port ? `, UDP source port ${t.outer.source_port}` : ""}`],
  ["next hop", (t) => t.next_hop && `${t.next_hop.mac} on ${t.next_hop.interface}, MTU ${t.next_hop.mtu}`],
];

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = new URLSearchParams(new FormData(event.target));
  let shown;
  try {
    const { response, body } = await ask(`/api/trace?${query}`);
    shown = response.ok ? traced(body.traces[0]) : failed(body?.error);
  } catch {
    shown = failed({ message: "no answer: the node cannot be reached" });
  }
  $("traced").replaceChildren(shown);
});

function traced(trace) {
  const rows = ROWS.map(([name, value]) => [name, value(trace)]).filter(([, value]) => value !== null && value !== undefined);
  return el("dl", {}, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function failed(error) {
  const text = [error?.message ?? "the answer is not understood", error?.hint].filter(Boolean).join("; ");
  return el("p", { class: "alarm", "data-tone": "bad" }, text);
}

$("pool").addEventListener("change", draw);
setInterval(age, 1000);
tick();

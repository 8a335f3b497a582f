// Keeps a page up to date: listens to the stream of its live view and changes the parts that differ.
//
// What somebody is doing is left alone: nothing is changed while text is selected, a button of the pointer is down or the tab
// is hidden; the focus, what is typed, open details and scroll positions survive, since elements are changed, not replaced.
// `data-hold` on a region holds it back while the pointer is over it; `data-keep` on an element leaves its content to scripts.

const main = document.querySelector("main[data-now-ms]");
const strip = document.getElementById("strip");
const stripText = document.getElementById("strip-text");
const stripTime = document.getElementById("strip-time");
const base = document.body.dataset.base;

const RECONNECT_MS = 1000;
const RECONNECT_AT_MOST_MS = 15000;
const SILENCE_MS = 15000;

/** How far the database's clock is ahead of this one. */
let clockAheadMs = 0;
let stream = null;
let failures = 0;
let lastHeardMs = 0;
let reconnectTimer = 0;
let isOver = false;
/** What came while it could not be shown: region to HTML. */
const waiting = new Map();

if (main) {
  clockAheadMs = Number(main.dataset.nowMs) - Date.now();
  drawCharts(main);
  connect();
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  document.addEventListener("pointerup", () => setTimeout(showWaiting));
  document.addEventListener("pointercancel", () => setTimeout(showWaiting));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(main));
}

function connect() {
  clearTimeout(reconnectTimer);
  if (stream || document.hidden || isOver) return;
  const below = location.pathname.slice(base.length).replace(/\/$/, "");
  // A page may name what it shows, so that it is that which is kept up to date.
  const shown = main.querySelector("[data-live-query]")?.dataset.liveQuery;
  const query = [location.search.slice(1), shown, main.hasAttribute("data-empty") ? "_whole=1" : ""];
  stream = new EventSource(`${base}/live${below}?${query.filter(Boolean).join("&")}`);
  stream.onmessage = (event) => heard(JSON.parse(event.data));
  stream.addEventListener("ended", () => {
    isOver = true;
    disconnect();
    say("bad", "Your session has ended. Load the page again to sign in.");
  });
  stream.onerror = () => {
    disconnect();
    failures += 1;
    if (failures > 1) say("bad", "The server does not answer.");
    const pause = Math.min(RECONNECT_MS * 2 ** (failures - 1), RECONNECT_AT_MOST_MS);
    reconnectTimer = setTimeout(connect, pause * (0.5 + Math.random() / 2));
  };
  lastHeardMs = Date.now();
}

function disconnect() {
  stream?.close();
  stream = null;
}

function heard(message) {
  failures = 0;
  lastHeardMs = Date.now();
  clockAheadMs = message.now_ms - Date.now();
  if (message.as_of) stripTime.textContent = message.as_of;
  if (message.failure) {
    say("bad", message.failure);
    return;
  }
  say("good", "The database answers.");
  if (message.whole !== undefined) {
    main.removeAttribute("data-empty");
    become(main, parse(message.whole));
    drawCharts(main);
    if (main.querySelector("[data-live-query]")) {
      disconnect();
      connect();
    }
  }
  for (const [id, html] of Object.entries(message.regions)) waiting.set(id, html);
  showWaiting();
}

/** Says how things are. Whatever is not as of now is greyed by the style. */
function say(tone, text) {
  strip.toggleAttribute("data-stale", tone !== "good");
  main.toggleAttribute("data-stale", tone !== "good");
  if (stripText.textContent !== text) stripText.textContent = text;
}

function tick() {
  if (stream && Date.now() - lastHeardMs > SILENCE_MS) {
    say("bad", "The server does not answer.");
    disconnect();
    connect();
  }
  writeAges(document);
  showWaiting();
}

let pointerIsDown = false;
addEventListener("pointerdown", () => (pointerIsDown = true), true);
addEventListener("pointerup", () => (pointerIsDown = false), true);
addEventListener("pointercancel", () => (pointerIsDown = false), true);

function showWaiting() {
  if (waiting.size === 0 || pointerIsDown || !getSelection().isCollapsed) return;
  for (const [id, html] of waiting) {
    const region = main.querySelector(`[data-region="${CSS.escape(id)}"]`);
    if (region?.hasAttribute("data-hold") && region.matches(":hover")) continue;
    waiting.delete(id);
    if (!region) continue;
    become(region, parse(html));
    if (region.parentElement.dataset.chart !== undefined) drawChart(region.parentElement);
    region.dispatchEvent(new CustomEvent("faultline:changed", { bubbles: true }));
  }
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  writeAges(template.content);
  return template.content;
}

/** Makes the children of an element those of another, keeping the elements that stay. Keys (`id`, `data-key`) move along. */
function become(element, wanted) {
  const key = (node) => node.id || node.dataset?.key || node.dataset?.region;
  const keyed = new Map();
  for (const child of element.children) if (key(child)) keyed.set(key(child), child);
  let at = element.firstChild;
  for (const node of [...wanted.childNodes]) {
    const same = key(node) ? keyed.get(key(node)) : at && !key(at) ? at : null;
    if (same && same.nodeType === node.nodeType && same.nodeName === node.nodeName) {
      if (same === at) at = at.nextSibling;
      else element.insertBefore(same, at);
      change(same, node);
    } else {
      element.insertBefore(node, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function change(node, wanted) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
    return;
  }
  if (node.hasAttribute("data-keep")) return;
  // What somebody opened stays open, and what they closed stays closed.
  const isTheirs = (name) => name === "open" && node.localName === "details";
  for (const { name, value } of wanted.attributes) {
    if (!isTheirs(name) && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const name of node.getAttributeNames()) {
    if (!isTheirs(name) && !wanted.hasAttribute(name)) node.removeAttribute(name);
  }
  become(node, wanted);
}

/** Ages and countdowns, by the database's clock; the same words as the server's. */
function writeAges(root) {
  for (const time of root.querySelectorAll("time[data-age]")) {
    const ago = (Date.now() + clockAheadMs - Date.parse(time.dateTime)) / 1000;
    const text = Math.abs(ago) < 1 ? "now" : ago < 0 ? `in ${span(-ago)}` : `${span(ago)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function span(seconds) {
  const units = [[1, 1000, "ms"], [120, 1, "s"], [7200, 1 / 60, "min"], [172800, 1 / 3600, "h"], [Infinity, 1 / 86400, "d"]];
  const [, factor, unit] = units.find(([limit]) => seconds < limit);
  return `${Math.floor(seconds * factor)} ${unit}`;
}

function drawCharts(root) {
  for (const figure of root.querySelectorAll("[data-chart]")) drawChart(figure);
}

/** Draws the numbers of a figure, or draws on. */
function drawChart(figure) {
  const plot = figure.querySelector(".plot");
  const source = figure.querySelector("script[type='application/json']");
  if (!plot || !source || typeof uPlot === "undefined") return;
  const { unit, times, lines } = JSON.parse(source.textContent);
  const data = [times, ...lines.map((line) => line.values)];
  const style = getComputedStyle(figure);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const look = lines.map((line) => line.name + colour(line.colour)).join() + colour("line");
  if (plot.chart && plot.look === look) {
    plot.chart.setData(data);
    return;
  }
  plot.chart?.destroy();
  plot.setAttribute("data-keep", "");
  const show = (value) => (value == null ? "–" : unit === "s" ? span(value) : String(Math.round(value * 100) / 100));
  const axis = { stroke: colour("muted"), font: `11px ${style.fontFamily}`, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  const size = () => ({ width: Math.max(plot.clientWidth, 120), height: 170 });
  // So far apart that only a value without neighbours gets one.
  const points = { size: 4, space: 1e6 };
  plot.chart = new uPlot({
    ...size(),
    cursor: { y: false, points: { size: 6 } },
    // Times are UTC, as everywhere on the page.
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, unit === "s" ? 0.01 : 1) * 1.08] } },
    axes: [
      { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toISOString().slice(11, 16)) },
      { ...axis, size: 52, values: (_, ticks) => ticks.map(show) },
    ],
    series: [
      { value: (_, time) => (time == null ? "–" : new Date(time * 1000).toISOString().slice(11, 19)), label: "Time" },
      ...lines.map((line) => ({
        label: line.name, stroke: colour(line.colour), width: 1.5, points, value: (_, value) => show(value),
      })),
    ],
  }, data, plot);
  plot.look = look;
  plot.watcher ??= new ResizeObserver(() => plot.chart.setSize(size()));
  plot.watcher.observe(plot);
}

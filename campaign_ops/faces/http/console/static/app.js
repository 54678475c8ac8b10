// Refreshes nothing by itself: htmx does. Writes times in the reader's zone, and draws curves.
"use strict";

const ZONE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit" });

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const day = DAY.format(at) === DAY.format(new Date()) ? "" : DAY.format(at) + " ";
    time.title = time.textContent;
    time.dataset.shown = "yes";
    const local = document.createElement("span");
    local.textContent = day + ZONE.format(at);
    const utc = document.createElement("span");
    utc.className = "utc";
    utc.textContent = " (" + time.dateTime.slice(11, 16) + " UTC)";
    time.replaceChildren(local, utc);
  }
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function draw(place) {
  const answer = await fetch(place.dataset.curves, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const curves = await answer.json();
  place.replaceChildren();
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--faint"), grid, ticks: grid };
  const series = curves.series.map((one, index) => ({
    label: one.label, stroke: colour("--curve-" + (index + 1)), width: 2, spanGaps: false,
  }));
  const options = {
    width: place.clientWidth, height: 180, series: [{}, ...series], scales: { x: { range: () => [Date.now() / 1000 - 86400, Date.now() / 1000] } }, axes: [axis, { ...axis, size: 60 }], cursor: { drag: { x: false } },
  };
  place.chart = new uPlot(options, [curves.at, ...curves.series.map((one) => one.values)], place);
}

function drawAll() {
  if (typeof uPlot === "undefined") return;
  for (const place of document.querySelectorAll("[data-curves]")) draw(place);
}

document.addEventListener("DOMContentLoaded", () => {
  showTimes(document);
  drawAll();
});

// Before the browser paints: times would jump otherwise. A link that had the keyboard's focus keeps it.
let focused = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const active = document.activeElement;
  focused = event.detail.target.contains(active) ? active.getAttribute("href") : null;
});
document.addEventListener("htmx:afterSwap", () => {
  showTimes(document);
  if (focused === null) return;
  const link = [...document.querySelectorAll("#live a")].find((known) => known.getAttribute("href") === focused);
  if (link !== undefined) link.focus({ preventScroll: true });
  focused = null;
});
window.addEventListener("resize", () => {
  for (const place of document.querySelectorAll("[data-curves]")) {
    if (place.chart) place.chart.setSize({ width: place.clientWidth, height: 180 });
  }
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});

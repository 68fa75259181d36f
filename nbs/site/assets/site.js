// The front page's tables: filters and sorting. Everything else works without this file, and so do the tables.
"use strict";

function filterTables(form, tables) {
  const chosen = new FormData(form);
  const words = (chosen.get("words") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const counts = tables.map(table => {
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const has = name => !chosen.get(name) || row.dataset[name].split("|").includes(chosen.get(name));
      const text = row.textContent.toLowerCase();
      row.hidden = !(has("paper") && has("answer") && has("verdict") && words.every(word => text.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    return shown + " of " + table.tBodies[0].rows.length;
  });
  form.querySelector(".count").innerHTML =
    `<a href="#exhibits">${counts[0]} exhibits</a> and <a href="#claims">${counts[1]} claims</a> are shown.`;
}

function sortTable(table, column) {
  const heads = table.tHead.rows[0].cells;
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  for (const head of heads) head.setAttribute("aria-sort", "none");
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.sort || row.cells[column].textContent.trim();
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => (down ? -1 : 1) * key(a).localeCompare(key(b), "en", { numeric: true }));
  table.tBodies[0].append(...rows);
}

function keepInAddress(form) {
  const chosen = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
  try { history.replaceState(null, "", location.pathname + (chosen ? "?" + chosen : "") + location.hash); }
  catch { /* a page that was opened as a file may keep its address */ }
}

function setUpMatrix() {
  const form = document.querySelector("form.filters");
  if (!form) return;
  const tables = [...document.querySelectorAll("table.matrix")];
  for (const [name, value] of new URLSearchParams(location.search))
    if (form.elements[name]) form.elements[name].value = value;
  const refresh = () => { filterTables(form, tables); keepInAddress(form); };
  form.hidden = false;
  form.addEventListener("input", refresh);
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("submit", event => event.preventDefault());
  for (const table of tables)
    [...table.tHead.rows[0].cells].forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => sortTable(table, column)));
  filterTables(form, tables);
}

// A link to something that is folded opens it.
function openFolded() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details");
  if (folded && !folded.open) { folded.open = true; target.scrollIntoView(); }
}

// A picture opens by itself, as large as it is.
function openPictures() {
  for (const picture of document.querySelectorAll("article img")) {
    if (picture.closest("a")) continue;
    const link = document.createElement("a");
    link.href = picture.src;
    link.className = "picture";
    picture.replaceWith(link);
    link.append(picture);
  }
}

// Films play by themselves, unless a reader has asked for less motion.
function playFilms() {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const film of document.querySelectorAll("article video")) film.play().catch(() => {});
}

document.addEventListener("DOMContentLoaded", () => { setUpMatrix(); openFolded(); openPictures(); playFilms(); });
addEventListener("hashchange", openFolded);

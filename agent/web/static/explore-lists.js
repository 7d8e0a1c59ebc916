// Token lists as tables with bars, made in the page as the server's templates make them.

import { element } from "./tree-draw.js";

const FIRST = 15;

function cell(kind, text, name) {
  const made = document.createElement(kind);
  made.className = name;
  made.append(text);
  return made;
}

function row({ token, score, bar }) {
  const made = document.createElement("tr");
  const word = document.createElement("bdi");
  word.textContent = token;
  const svg = element("svg", { class: "bar-svg", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(element("rect", { width: bar, height: 10 }));
  made.append(cell("td", word, "mono"), cell("td", svg, "track"), cell("td", score, "number"));
  return made;
}

/** A verdict in a word or two with its sentence on hover; nothing where none was measured. */
export function badge(found) {
  if (!found) return [];
  const made = document.createElement("span");
  made.className = `tag ${found.tone}`;
  made.tabIndex = 0;
  made.title = found.sentence;
  made.textContent = found.words;
  return [made];
}

export function bars(rows, caption, verdict = null) {
  const table = document.createElement("table");
  table.className = "bars";
  table.createCaption().append(`${caption} `, ...badge(verdict));
  table.createTBody().append(...rows.slice(0, FIRST).map(row));
  const whole = document.createElement("div");
  whole.append(table);
  if (rows.length > FIRST) whole.append(rest(rows.slice(FIRST)));
  return whole;
}

function rest(rows) {
  const details = document.createElement("details");
  details.className = "more";
  const summary = document.createElement("summary");
  summary.textContent = `${rows.length} more`;
  const words = document.createElement("p");
  words.className = "mono running";
  for (const { token, score } of rows) {
    const word = document.createElement("bdi");
    word.textContent = token;
    word.title = score;
    words.append(word, " ");
  }
  details.append(summary, words);
  return details;
}

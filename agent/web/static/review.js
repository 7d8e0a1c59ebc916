// The review box without reloading the page. A verdict leads on to the next feature; whatever goes wrong, what was typed
// stays where it is.

import { say } from "./keys.js";

const SAID = { accept: "accepted", reject: "rejected", flag: "flagged", edit: "edited", note: "has your note", undo: "as before" };
const LAST = "last-judged"; // where the verdict was given that led here, so that it can be taken back from here

export async function post(action, fields, part) {
  const answer = await fetch(action, { method: "POST", body: new URLSearchParams(fields), headers: { "X-Part": part } });
  const text = await answer.text();
  if (answer.ok) return text;
  const isPlain = answer.headers.get("content-type").startsWith("text/plain");
  throw new Error(isPlain ? text : `The server refused (${answer.status}).`);
}

export function words(error) {
  return error instanceof TypeError ? "The server does not answer; is interpret serve still running?" : error.message;
}

async function send(event) {
  const form = event.target;
  const box = form.closest("#review");
  if (!box) return;
  event.preventDefault();
  const verdict = event.submitter?.value ?? form.querySelector("button").value;
  box.setAttribute("aria-busy", "true");
  try {
    if (verdict === "undo" && box.dataset.undoable === "false" && (await undoLast())) return;
    const text = await post(form.action, { ...Object.fromEntries(new FormData(form)), verdict }, "review");
    if (box.hasAttribute("data-hidden")) return location.reload();
    if (!leadsOn(box, form, verdict)) replace(box, text, verdict);
  } catch (error) {
    const fault = box.querySelector("[data-fault]");
    fault.textContent = words(error);
    fault.hidden = false;
  } finally {
    box.removeAttribute("aria-busy");
  }
}

// After accept and reject, to the next feature, if there is one.
function leadsOn(box, form, verdict) {
  const next = box.querySelector('a[rel="next"]');
  if (!next || (verdict !== "accept" && verdict !== "reject")) return false;
  const said = `Feature ${box.dataset.feature} ${SAID[verdict]}; press u to undo.`;
  sessionStorage.setItem(LAST, JSON.stringify({ said, action: form.action, page: location.href, on: next.href }));
  location.assign(next.href);
  return true;
}

async function undoLast() {
  const last = JSON.parse(sessionStorage.getItem(LAST) ?? "null");
  if (last?.on !== location.href) return false;
  await post(last.action, { verdict: "undo" }, "review");
  sessionStorage.removeItem(LAST);
  location.assign(last.page);
  return true;
}

function replace(box, text, verdict) {
  const draft = verdict === "note" ? "" : (box.querySelector("#review-note")?.value ?? "");
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("review");
  const focused = box.contains(document.activeElement) ? document.activeElement : null;
  box.replaceWith(fresh);
  const note = fresh.querySelector("#review-note");
  if (note) note.value = draft;
  if (focused?.matches("button")) fresh.querySelector(`button[value="${CSS.escape(focused.value)}"]`)?.focus();
  if (fresh.querySelector("[data-fault]").hidden) say(`Feature ${fresh.dataset.feature} ${SAID[verdict]}.`);
  retitle(fresh);
}

// The heading is the label as reviewers would have it.
function retitle(fresh) {
  const title = document.getElementById("label-title");
  if (!title) return;
  title.textContent = fresh.dataset.wording || title.dataset.label;
  document.getElementById("machines").hidden = !fresh.dataset.wording;
}

document.addEventListener("submit", send);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("#review textarea")) {
    event.target.form.requestSubmit();
  }
});
const last = JSON.parse(sessionStorage.getItem(LAST) ?? "null");
if (last?.on === location.href && document.getElementById("review")) say(last.said);

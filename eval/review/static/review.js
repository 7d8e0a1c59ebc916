// The review box without reloading the page. Whatever goes wrong, what was typed stays where it is.

import { say } from "./keys.js";

const SAID = { accept: "Accepted.", reject: "Rejected.", flag: "Flagged.", edit: "Edit kept.", note: "Note kept.", undo: "Taken back." };

async function send(event) {
  const form = event.target;
  const box = form.closest("#review");
  if (!box) return;
  event.preventDefault();
  const verdict = event.submitter?.value ?? form.querySelector("button").value;
  const body = new URLSearchParams(new FormData(form));
  body.set("verdict", verdict);
  box.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { "X-Part": "review" } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(answer.headers.get("content-type").startsWith("text/plain") ? text : `The server refused (${answer.status}).`);
    if (box.hasAttribute("data-hidden")) return location.reload();
    replace(box, text, verdict);
  } catch (error) {
    const fault = box.querySelector("[data-fault]");
    fault.textContent = error instanceof TypeError ? "The server does not answer; is interpret serve still running?" : error.message;
    fault.hidden = false;
  } finally {
    box.removeAttribute("aria-busy");
  }
}

function replace(box, text, verdict) {
  const draft = verdict === "note" ? "" : (box.querySelector("#review-note")?.value ?? "");
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("review");
  const focused = box.contains(document.activeElement) ? document.activeElement : null;
  box.replaceWith(fresh);
  const note = fresh.querySelector("#review-note");
  if (note) note.value = draft;
  if (focused?.matches("button")) fresh.querySelector(`button[value="${CSS.escape(focused.value)}"]`)?.focus();
  if (fresh.querySelector("[data-fault]").hidden) say(SAID[verdict]);
}

document.addEventListener("submit", send);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("#review textarea")) {
    event.target.form.requestSubmit();
  }
});

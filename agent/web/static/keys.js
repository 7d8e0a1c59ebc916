// Keys of a page. An element says `data-key="a" data-help="accept"`: the key clicks it, or focuses it where one writes.
// Several keys may do the same: `data-key="] j"`. A script binds what has no element. `?` lists them all.

const SAID_MS = 3000;

const bound = new Map();
let silence = 0;

/** Lets `key` do `action`, called with the event. */
export function bind(key, help, action) {
  bound.set(key, { help, action });
}

/** Shows a sentence to everyone, screen readers too, for a while. */
export function say(sentence) {
  const place = document.getElementById("said");
  place.textContent = sentence;
  clearTimeout(silence);
  silence = setTimeout(() => (place.textContent = ""), SAID_MS);
}

const WRITES = "input, textarea, select";

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.(WRITES)) {
    if (event.key === "Escape") leave(event.target);
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const action = bound.get(event.key)?.action ?? elementAction(event.key);
  if (action) {
    event.preventDefault();
    action(event);
  }
}

// Out of a field, and out of the panel that was opened for it.
function leave(field) {
  field.blur();
  const panel = field.closest("details.panel");
  if (panel) panel.open = false;
}

function elementAction(key) {
  const element = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key.split(" ").includes(key));
  if (!element || element.disabled) return null;
  if (element.matches("summary")) return () => open(element.parentElement);
  return element.matches(WRITES) ? () => element.focus() : () => element.click();
}

function open(panel) {
  panel.open = true;
  panel.querySelector(WRITES)?.focus();
}

function openHelp() {
  const help = document.getElementById("help");
  const elements = [...document.querySelectorAll("[data-key][data-help]")];
  const lines = elements.map((one) => [one.dataset.key.split(" "), one.dataset.help]);
  const all = [...lines, ...[...bound].map(([key, { help }]) => [[key], help])];
  help.querySelector("dl").replaceChildren(...all.map(([keys, words]) => line(keys, words)));
  help.showModal();
}

function line(keys, words) {
  const made = document.createElement("div");
  const [name, meaning] = [document.createElement("dt"), document.createElement("dd")];
  for (const key of keys) {
    const cap = document.createElement("kbd");
    cap.textContent = key;
    name.append(cap, " ");
  }
  meaning.textContent = words;
  made.append(name, meaning);
  return made;
}

bind("?", "this list", openHelp);
document.addEventListener("keydown", pressed);
for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
document.querySelector("[data-opens-help]").addEventListener("click", openHelp);

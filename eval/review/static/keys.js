// Keys of a page. An element says `data-key="a" data-help="accept"`: the key clicks it, or focuses it where one writes.
// A script binds what has no element. `?` lists them all.

const bound = new Map();

/** Lets `key` do `action`, called with the event. */
export function bind(key, help, action) {
  bound.set(key, { help, action });
}

/** Shows a sentence to everyone, screen readers too. */
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}

const WRITES = "input, textarea, select";

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.(WRITES)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const action = bound.get(event.key)?.action ?? elementAction(event.key);
  if (action) {
    event.preventDefault();
    action(event);
  }
}

function elementAction(key) {
  const element = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (!element || element.disabled) return null;
  if (element.closest("details:not([open])")) element.closest("details").open = true;
  return element.matches(WRITES) ? () => element.focus() : () => element.click();
}

function openHelp() {
  const help = document.getElementById("help");
  const lines = [...document.querySelectorAll("[data-key][data-help]")].map((one) => [one.dataset.key, one.dataset.help]);
  const all = [...lines, ...[...bound].map(([key, { help }]) => [key, help])];
  help.querySelector("dl").replaceChildren(
    ...all.map(([key, words]) => {
      const line = document.createElement("div");
      const [name, meaning] = [document.createElement("dt"), document.createElement("dd")];
      const cap = document.createElement("kbd");
      cap.textContent = key;
      name.append(cap);
      meaning.textContent = words;
      line.append(name, meaning);
      return line;
    }),
  );
  help.showModal();
}

bind("?", "this list", openHelp);
document.addEventListener("keydown", pressed);
for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
document.querySelector("[data-opens-help]").addEventListener("click", openHelp);

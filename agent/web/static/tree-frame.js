// The frame of a drawn tree: how large it is shown, the whole screen for it, and fades where there is more to scroll to.

import { bind } from "./keys.js";

const STEP = 1.25;
const [SMALLEST, LARGEST] = [0.4, 4];
const USUAL_WIDTH_PX = 640; // of a stage that is not on screen yet
const FULL_SCALE = 1.7;
const FULL_ROOM = 2.5; // so many times the nodes on a whole screen

const frames = [];

export class Frame {
  constructor(view) {
    this.view = view;
    this.stage = view.stage;
    this.figure = view.figure;
    this.scale = 1;
    this.drawnPx = 0; // width that the tree was last drawn for
    this.buttons = document.createElement("span");
    this.buttons.className = "tree-buttons";
    this.#add("−", "Smaller", () => this.zoom(1 / STEP));
    this.#add("+", "Larger", () => this.zoom(STEP));
    this.#add("Fit", "Fit to window", () => this.fit());
    this.whole = this.#add("Full", "Full screen", () => this.fill());
    this.stage.addEventListener("scroll", () => this.#fade(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(this.stage);
    frames.push(this);
  }

  get widthPx() {
    this.drawnPx = this.stage.clientWidth;
    return this.drawnPx || USUAL_WIDTH_PX;
  }

  get room() {
    return this.isFull ? FULL_ROOM : 1;
  }

  get isFull() {
    return this.figure.classList.contains("full");
  }

  // Gives the picture its size on screen.
  resize({ width, height }) {
    this.view.svg.setAttribute("width", Math.round(width * this.scale));
    this.view.svg.setAttribute("height", Math.round(height * this.scale));
    this.#fade();
  }

  // Its left edge and the middle of its height stay where they are.
  zoom(factor) {
    const before = this.scale;
    this.scale = Math.min(Math.max(before * factor, SMALLEST), LARGEST);
    const { scrollLeft, scrollTop, clientHeight } = this.stage;
    const middle = scrollTop + Math.min(clientHeight, this.view.picture.height * before) / 2;
    this.resize(this.view.picture);
    this.stage.scrollLeft = (scrollLeft * this.scale) / before;
    this.stage.scrollTop = (middle * this.scale) / before - this.stage.clientHeight / 2;
  }

  // A tree that is taller than its stage opens where it begins.
  showRoot() {
    this.stage.scrollTop = this.view.picture.rootY * this.scale - this.stage.clientHeight / 2;
  }

  fit() {
    this.scale = 1;
    this.view.fit();
    if (this.isFull) this.zoom(this.#filling());
  }

  // How much larger the picture may be on a whole screen.
  #filling() {
    const { width, height } = this.view.picture;
    const room = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    return Math.min(Math.max(room, 1), FULL_SCALE);
  }

  fill(full = !this.isFull) {
    this.figure.classList.toggle("full", full);
    document.documentElement.classList.toggle("behind", full);
    this.whole.textContent = full ? "Close" : "Full";
    this.fit();
  }

  #add(words, help, action) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet", textContent: words, title: help });
    button.setAttribute("aria-label", help);
    button.addEventListener("click", action);
    this.buttons.append(button);
    return button;
  }

  #resized() {
    if (this.stage.clientWidth && Math.abs(this.stage.clientWidth - this.drawnPx) > 1) this.view.draw();
    else this.#fade();
  }

  #fade() {
    const { scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight } = this.stage;
    this.stage.classList.toggle("more-left", scrollLeft > 1);
    this.stage.classList.toggle("more-right", scrollLeft + clientWidth < scrollWidth - 1);
    this.stage.classList.toggle("more-below", scrollTop + clientHeight < scrollHeight - 1);
  }
}

// The tree that a key means: the one on the whole screen, the one with the focus, else the first that can be seen.
function meant() {
  const seen = frames.filter(({ stage }) => {
    const { top, bottom } = stage.getBoundingClientRect();
    return stage.clientWidth && bottom > 0 && top < innerHeight;
  });
  return seen.find((one) => one.isFull) ?? seen.find((one) => one.figure.contains(document.activeElement)) ?? seen[0];
}

bind("+", "tree: larger", () => meant()?.zoom(STEP));
bind("-", "tree: smaller", () => meant()?.zoom(1 / STEP));
bind("0", "tree: fit to window", () => meant()?.fit());
bind("z", "tree: full screen", () => meant()?.fill());
addEventListener("keydown", (event) => {
  const full = frames.find((one) => one.isFull);
  if (event.key === "Escape" && full) full.fill(false);
});

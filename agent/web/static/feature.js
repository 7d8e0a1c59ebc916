// The page of a feature: its trees are drawn once they can be seen, its sections followed in their list, and its page on
// Neuronpedia is shown when that is asked for.

import { mount } from "./tree.js";

const seen = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((one) => one.isIntersecting)) {
      seen.unobserve(target);
      mount(target).then(() => target.classList.remove("waiting"));
    }
  },
  { rootMargin: "100% 0px" },
);
for (const figure of document.querySelectorAll("figure.tree")) {
  figure.querySelector(".tree-outline").open = false; // it stands in for the picture, which is on its way
  figure.classList.add("waiting"); // so that what is below moves little
  seen.observe(figure);
}

const links = new Map([...document.querySelectorAll(".sections a")].map((link) => [link.hash.slice(1), link]));
const read = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) links.get(target.id).setAttribute("aria-current", "true");
      else links.get(target.id).removeAttribute("aria-current");
    }
  },
  { rootMargin: "-20% 0px -65% 0px" },
);
for (const section of document.querySelectorAll("section[id]")) if (links.has(section.id)) read.observe(section);

for (const frame of document.querySelectorAll(".frame")) {
  frame.querySelector("button").addEventListener("click", () => {
    const page = document.createElement("iframe");
    page.setAttribute("sandbox", "allow-scripts allow-same-origin"); // its own origin: the page does not load without
    page.referrerPolicy = "no-referrer";
    page.title = "The feature on Neuronpedia";
    page.src = `${frame.dataset.address}?embed=true`;
    frame.replaceChildren(page);
  });
}

// The page of a feature: its trees are drawn, and its page on Neuronpedia is shown when that is asked for.

import { mount } from "./tree.js";

for (const figure of document.querySelectorAll("figure.tree")) mount(figure);

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

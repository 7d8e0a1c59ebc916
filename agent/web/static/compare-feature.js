// One feature under two settings: draws both trees.
import { mount } from "./tree.js";

for (const figure of document.querySelectorAll("figure.tree[data-src]")) mount(figure);

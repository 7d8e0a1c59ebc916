// The comparison page: what is chosen is shown at once; a point tells its feature before it is opened.

const form = document.querySelector("form[data-submits-itself]");
form.addEventListener("change", () => form.requestSubmit());
for (const button of form.querySelectorAll(".without-script")) button.hidden = true;

const scatter = document.querySelector(".scatter");
const tip = document.querySelector(".stage > .tip");

function line(name, words) {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = words;
  return made;
}

function tell(point) {
  const { feature, label, across, up } = point.dataset;
  tip.replaceChildren(line("soft", `feature ${feature}`), line("name", label || "not labelled"), line("figures-of", `${across} → ${up}`));
  tip.hidden = false;
  const [dot, frame] = [point.getBoundingClientRect(), tip.parentElement.getBoundingClientRect()];
  const left = dot.left - frame.left + 14;
  const fits = left + tip.offsetWidth <= frame.width;
  tip.style.left = `${Math.max(0, fits ? left : dot.left - frame.left - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.max(0, dot.top - frame.top - tip.offsetHeight / 2)}px`;
}

if (scatter) {
  for (const title of scatter.querySelectorAll(".point title")) {
    title.closest(".point").setAttribute("aria-label", title.textContent);
    title.remove(); // the card says more
  }
  scatter.addEventListener("pointerover", (event) => {
    const point = event.target.closest(".point");
    if (point) tell(point);
    else tip.hidden = true;
  });
  scatter.addEventListener("pointerleave", () => (tip.hidden = true));
}

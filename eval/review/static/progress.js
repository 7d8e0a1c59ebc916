// A run's figures until it is finished: every two seconds while a process writes it, seldom while none does.

const section = document.getElementById("progress");
const [LIVE_MS, IDLE_MS] = [2000, 15000];

function show(figures) {
  const words = {
    ...Object.fromEntries(["asked", "done", "labelled", "abstained", "failed", "calls"].map((name) => [name, figures[name].toLocaleString("en")])),
    cost: figures.cost === null ? "–" : `$${figures.cost.toFixed(4)}`,
    written: (figures.written ?? "never").slice(0, 19).replace("T", " "),
    state: figures.status === "finished" ? "Finished" : figures.live ? "Running" : "Unfinished: still running elsewhere, or cut off",
  };
  for (const element of section.querySelectorAll("[data-is]")) element.textContent = words[element.dataset.is];
  const bar = section.querySelector("progress");
  if (bar) [bar.max, bar.value] = [figures.asked, figures.done];
}

async function ask() {
  let pause = IDLE_MS;
  try {
    const figures = await (await fetch(section.dataset.url)).json();
    show(figures);
    if (figures.live) pause = LIVE_MS;
    if (figures.status === "finished") return location.reload();
  } catch {
    section.querySelector("[data-is=state]").textContent = "The server does not answer";
  }
  setTimeout(ask, pause);
}

if (section.dataset.status !== "finished") setTimeout(ask, LIVE_MS);

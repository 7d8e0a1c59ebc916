// A run's figures until it is finished: every two seconds while a process writes it, seldom while none does.

const section = document.getElementById("progress");
const [LIVE_MS, IDLE_MS] = [2000, 15000];

function money(usd) {
  if (usd === null) return "–";
  return usd === 0 ? "free" : `$${usd.toFixed(usd < 0.01 ? 4 : 2)}`;
}

// The bar's parts, one after another.
function fill(figures) {
  const all = Math.max(figures.asked, figures.done, 1);
  let x = 0;
  for (const name of ["labelled", "abstained", "failed"]) {
    const part = section.querySelector(`.done .${name}`);
    const width = (100 * figures[name]) / all;
    part.setAttribute("x", x);
    part.setAttribute("width", width);
    x += width;
  }
}

function show(figures) {
  const words = {
    ...Object.fromEntries(["asked", "done", "labelled", "abstained", "failed", "calls"].map((name) => [name, figures[name].toLocaleString("en")])),
    cost: money(figures.cost),
    written: (figures.written ?? "never").slice(0, 19).replace("T", " "),
    state: figures.status === "finished" ? "Finished" : figures.live ? "Running" : "Unfinished: still running elsewhere, or interrupted",
  };
  for (const element of section.querySelectorAll("[data-is]")) element.textContent = words[element.dataset.is];
  fill(figures);
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

// The controls of one column: fields with sliders beside them, to the query that stands in the address, and back.
// Only what differs from its default is said. Knows no evidence.

const STEPS = 1000;

// Settings that are words: what a slider's number is called, and which number a text stands for.
const SPELT = {
  weights: {
    write: (number) => (number <= 0 ? "encoder" : number >= 1 ? "decoder" : `blend:${short(number)}`),
    read: (text) => ({ encoder: 0, decoder: 1 })[text] ?? Number(text.replace("blend:", "")),
  },
  pca: {
    write: (number, text) => [short(number), ...text.split(",").slice(1)].join(","),
    read: (text) => Number(text.split(",")[0]),
  },
};
const WHOLE = new Set(["top-k", "max-depth"]);

function short(number) {
  return String(Number(number.toPrecision(3)));
}

export class Form {
  constructor(root, changed) {
    this.root = root;
    this.changed = changed;
    this.fields = [...root.querySelectorAll("[name]")];
    root.addEventListener("input", (event) => this.#moved(event.target));
    root.addEventListener("submit", (event) => event.preventDefault());
  }

  // What is not at its default, by key.
  query() {
    const said = {};
    for (const field of this.fields) {
      const value = field.type === "checkbox" ? String(field.checked) : field.value.trim();
      if (value && value !== field.dataset.default) said[field.name] = value;
    }
    return said;
  }

  load(said) {
    for (const field of this.fields) {
      const value = said[field.name] ?? field.dataset.default;
      if (field.type === "checkbox") field.checked = value === "true";
      else field.value = field.name in said || field.tagName === "SELECT" ? value : "";
      this.#slide(field);
      if (field.name in said) this.#unfold(field);
    }
  }

  #unfold(field) {
    const folded = field.closest("details.further");
    if (folded) folded.open = true;
  }

  // One sentence beside each control that is at fault; returns those that have no control here.
  tell(faults) {
    for (const field of this.fields) {
      const place = this.root.querySelector(`#${CSS.escape(field.id)}-fault`);
      const fault = faults[field.name] ?? "";
      place.textContent = fault;
      place.hidden = !fault;
      field.toggleAttribute("aria-invalid", Boolean(fault));
      if (fault) this.#unfold(field);
    }
  }

  #moved(input) {
    const field = input.closest(".control").querySelector("[name]");
    if (input.type === "range") field.value = this.#spelt(field, this.#number(input));
    else this.#slide(field);
    this.changed();
  }

  #spelt(field, number) {
    if (SPELT[field.name]) return SPELT[field.name].write(number, field.value);
    return WHOLE.has(field.name) ? String(Math.round(number)) : short(number);
  }

  #number({ value, dataset }) {
    const [least, most, share] = [Number(dataset.least), Number(dataset.most), value / STEPS];
    return "log" in dataset ? least * (most / least) ** share : least + (most - least) * share;
  }

  #slide(field) {
    const slider = field.closest(".control").querySelector("input[type=range]");
    if (!slider) return;
    const text = field.value.trim() || field.dataset.default;
    const number = SPELT[field.name] ? SPELT[field.name].read(text) : Number(text);
    const [least, most] = [Number(slider.dataset.least), Number(slider.dataset.most)];
    const share = "log" in slider.dataset ? Math.log(number / least) / Math.log(most / least) : (number - least) / (most - least);
    if (Number.isFinite(share)) slider.value = Math.round(STEPS * Math.min(Math.max(share, 0), 1));
  }
}

// The controls of one column: fields with sliders beside them, to the query that stands in the address, and back.
// A field shows its default as a value; only what differs from it is said. Knows no evidence.

const STEPS = 1000;

// Settings that are words: what a slider's number is called, and which number a text stands for.
const SPELT = {
  weights: {
    write: (number) => (number <= 0 ? "encoder" : number >= 1 ? "decoder" : `blend:${short(number)}`),
    // NaN for what lies on no way from encoder to decoder, vocabulary and auto: the slider stays where it is
    read: (text) => ({ encoder: 0, decoder: 1 })[text] ?? Number(text.replace("blend:", "")),
  },
  pca: {
    write: (number, text) => [short(number), ...text.split(",").slice(1)].join(","),
    read: (text) => Number(text.split(",")[0]),
  },
  contrast: {
    write: (number, text, least) => (number >= least ? "off" : short(number)), // it falls from its left end on
    read: (text) => (text === "off" ? 1 : Number(text)),
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
      const value = this.#value(field);
      if (value && value !== field.dataset.default) said[field.name] = value;
    }
    return said;
  }

  #value(field) {
    return field.type === "checkbox" ? String(field.checked) : (field.dataset.name ?? field.value.trim());
  }

  load(said) {
    for (const field of this.fields) {
      const value = said[field.name] ?? field.dataset.default;
      if (field.type === "checkbox") field.checked = value === "true";
      else field.value = value;
      delete field.dataset.name;
      this.#settle(field);
      if (field.name in said) this.#unfold(field);
    }
  }

  // All that follows a field's value: its slider, the prompt's name and text, whether it is marked as changed.
  #settle(field) {
    const control = field.closest(".control");
    this.#slide(field);
    const stock = control.querySelector(".stock");
    if (stock) this.#name(stock, field);
    this.#mark(field);
  }

  #mark(field) {
    const value = this.#value(field);
    field.closest(".control").classList.toggle("changed", Boolean(value) && value !== field.dataset.default);
  }

  // A prompt is known by its name or is a text of its own; of a named one the text is shown, not to be written in.
  #name(stock, field) {
    const named = [...stock.options].find((option) => option.value && option.value === (field.dataset.name ?? field.value));
    stock.value = named?.value ?? "";
    field.readOnly = Boolean(named);
    if (named) [field.dataset.name, field.value] = [named.value, named.dataset.text];
  }

  #choose(stock, field) {
    delete field.dataset.name;
    if (stock.value) field.value = stock.value;
    else field.readOnly = false;
    if (!stock.value) field.focus();
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
    if (input.type === "range") field.value = this.#spelt(field, input);
    if (input.matches(".stock")) this.#choose(input, field);
    if (input.type === "range") this.#mark(field);
    else this.#settle(field);
    this.changed(input);
  }

  #spelt(field, slider) {
    const number = this.#number(slider);
    if (SPELT[field.name]) return SPELT[field.name].write(number, field.value, Number(slider.dataset.least));
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

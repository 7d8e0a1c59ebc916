// The words of a drawn tree: figures as the terminal writes them, phrases broken into lines that fit.

const MOST_CHARACTERS = 80;
const MOST_LINES = 3;

// Two digits that mean something, as the terminal writes them.
export function percent(probability) {
  if (probability >= 0.0995) return `${Math.round(100 * probability)}%`;
  if (probability >= 0.0001) return `${(100 * probability).toFixed(probability >= 0.00995 ? 1 : 2)}%`;
  return probability > 0 ? probability.toExponential(0) : "0";
}

export function nats(number) {
  return `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
}

export function phrase(text) {
  const words = [...(text.trim() || "␣".repeat(text.length))];
  return words.length <= MOST_CHARACTERS ? words.join("") : `${words.slice(0, MOST_CHARACTERS - 1).join("")}…`;
}

export class Ruler {
  // Widths of words in the fonts of `svg`, in pixels, so that phrases stand close without touching.
  constructor(svg) {
    const { fontSize, fontFamily } = getComputedStyle(svg);
    this.context = document.createElement("canvas").getContext("2d");
    const small = `${parseFloat(fontSize) * 0.8}px`;
    this.fonts = { plain: `${fontSize} ${fontFamily}`, told: `600 ${fontSize} ${fontFamily}`, small: `${small} ${fontFamily}` };
    this.known = new Map();
  }

  width(text, font = "plain") {
    const key = `${font} ${text}`;
    if (!this.known.has(key)) {
      this.context.font = this.fonts[font];
      this.known.set(key, this.context.measureText(text).width);
    }
    return this.known.get(key);
  }

  // `text` in lines of at most `mostPx` where its words allow it; all but the last keep the space they were broken at.
  lines(text, mostPx, font) {
    const lines = [""];
    for (const word of text.split(/(?<= )/u).flatMap((word) => this.#pieces(word, mostPx, font))) {
      const longer = lines.at(-1) + word;
      if (lines.at(-1) && this.width(longer.trimEnd(), font) > mostPx) lines.push(word);
      else lines[lines.length - 1] = longer;
    }
    if (lines.length <= MOST_LINES) return lines;
    return [...lines.slice(0, MOST_LINES - 1), `${lines[MOST_LINES - 1].trimEnd()}…`];
  }

  // A word that is wider than a line is broken wherever it must be.
  #pieces(word, mostPx, font) {
    if (this.width(word.trimEnd(), font) <= mostPx) return [word];
    const pieces = [""];
    for (const letter of word) {
      if (pieces.at(-1) && this.width(pieces.at(-1) + letter, font) > mostPx) pieces.push(letter);
      else pieces[pieces.length - 1] += letter;
    }
    return pieces;
  }
}

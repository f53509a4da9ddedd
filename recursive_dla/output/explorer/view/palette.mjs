// The colours of the page, for what is painted.

import { make } from "./dom.mjs";

/** @import { Theme } from "../model/types.d.mts" */

/** Puts the page into a theme. @param {Theme} theme */
export function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

/**
 * The colours of the current theme, read from the style sheet, and the scale
 * that runs from the negative colour through a neutral one to the positive.
 */
export class Palette {
  constructor() {
    const probe = document.body.appendChild(make("span", { hidden: true }));
    const read = (/** @type {string} */ name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    this.surface = read("surface");
    this.band = read("band");
    this.target = read("target-band");
    this.grid = read("grid");
    this.ink = read("ink");
    this.muted = read("muted");
    this.accent = read("accent");
    this.match = read("match");
    this.positive = read("positive");
    this.negative = read("negative");
    const neutral = read("neutral");
    probe.remove();
    this.rising = ramp(neutral, this.positive);
    this.falling = ramp(neutral, this.negative);
  }

  /** `value` from -1 to 1; small values are set apart by the square root. @param {number} value */
  fill(value) {
    const steps = value < 0 ? this.falling : this.rising;
    const share = Math.sqrt(Math.min(1, Math.abs(value)));
    return steps[Math.round(share * (steps.length - 1))];
  }

  /** @param {number} weight */
  edge(weight) {
    return weight < 0 ? this.negative : this.positive;
  }
}

/** The colours from one to another, both written "rgb(1, 2, 3)". @param {string} from @param {string} to */
function ramp(from, to, steps = 48) {
  const [a, b] = [from, to].map((colour) => (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number));
  return Array.from({ length: steps }, (_, i) => {
    const mix = a.map((part, j) => Math.round(part + ((b[j] - part) * i) / (steps - 1)));
    return `rgb(${mix.join(", ")})`;
  });
}


// How one node looks: its shape by kind, its size and colour by attribution.

const SMALLEST = 3.6;
const LARGEST = 13;
const GROUP_SIZE = 14;

// Outlines around the origin, of about the same area as a unit circle.
const OUTLINES = {
  head: "M1,0A1,1 0 1 1 -1,0A1,1 0 1 1 1,0Z",
  mlp: "M-.6,-.9H.6A.3,.3 0 0 1 .9,-.6V.6A.3,.3 0 0 1 .6,.9H-.6A.3,.3 0 0 1 -.9,.6V-.6A.3,.3 0 0 1 -.6,-.9Z",
  embed: "M0,-1.15L1.15,.85H-1.15Z",
  pos_embed: "M0,1.15L1.15,-.85H-1.15Z",
  bias: "M0,-1.2L1.2,0L0,1.2L-1.2,0Z",
  remainder: "M0,-1.2L.35,-.35L1.2,0L.35,.35L0,1.2L-.35,.35L-1.2,0L-.35,-.35Z",
  logit: "M-1.1,0L-.55,-.98H.55L1.1,0L.55,.98H-.55Z",
  group: "M-.9,-.75H.9A.4,.4 0 0 1 1.3,-.35V.35A.4,.4 0 0 1 .9,.75H-.9A.4,.4 0 0 1 -1.3,.35V-.35A.4,.4 0 0 1 -.9,-.75Z",
};
const OTHER_OUTLINE = "M0,-1.1L1.05,-.34L.65,.89H-.65L-1.05,-.34Z";

function outlineOf(kind) {
  return Object.hasOwn(OUTLINES, kind) ? OUTLINES[kind] : OTHER_OUTLINE;
}

/** The radius of an item where marks are drawn at their natural size. */
function radiusOf(item, graph) {
  if (isPinnedGroup(item)) return GROUP_SIZE;
  const strength = Math.min(1, Math.abs(item.attribution) / graph.largest);
  return SMALLEST + (LARGEST - SMALLEST) * Math.sqrt(strength);
}

/**
 * The colours of the current theme, read from the style sheet, and the scale
 * that runs from the negative colour through a neutral one to the positive.
 */
class Palette {
  constructor() {
    const probe = document.body.appendChild(make("span", { hidden: true }));
    const read = (name) => {
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

  /** `value` from -1 to 1; small values are set apart by the square root. */
  fill(value) {
    const steps = value < 0 ? this.falling : this.rising;
    const share = Math.sqrt(Math.min(1, Math.abs(value)));
    return steps[Math.round(share * (steps.length - 1))];
  }

  edge(weight) {
    return weight < 0 ? this.negative : this.positive;
  }
}

function ramp(from, to, steps = 48) {
  const [a, b] = [from, to].map((colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number));
  return Array.from({ length: steps }, (_, i) => {
    const mix = a.map((part, j) => Math.round(part + ((b[j] - part) * i) / (steps - 1)));
    return `rgb(${mix.join(", ")})`;
  });
}

/** A node's mark as an icon for lists; its colours follow the theme. */
function markIcon(item, graph) {
  const strength = Math.min(1, Math.abs(item.attribution) / graph.largest);
  const icon = makeSvg("svg", { class: "mark", viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" });
  const shape = makeSvg("path", { d: outlineOf(item.kind) });
  shape.style.setProperty("--strength", `${Math.round(100 * Math.sqrt(strength))}%`);
  shape.classList.add(item.attribution < 0 ? "is-negative" : "is-positive");
  icon.append(shape);
  return icon;
}

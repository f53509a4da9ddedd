// The slider and the filters.

import { kindName } from "../model/graph.mjs";
import { showCount, showNumber } from "../model/text.mjs";
import { clamp, unique } from "../model/tools.mjs";
import { find, findAs, make } from "./dom.mjs";
import { kindIcon, tokenText } from "./icons.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { State } from "../model/types.d.mts" */

export class Filters {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    const { graph, history, actions } = session;
    this.slider = findAs(HTMLInputElement, "share");
    this.slider.addEventListener("input", () => {
      history.change({ share: Number(this.slider.value) / 1000 }, "share");
    });
    this.rooted = findAs(HTMLInputElement, "rooted");
    this.rooted.addEventListener("change", () => history.change({ rooted: this.rooted.checked }));
    this.compact = findAs(HTMLInputElement, "compact");
    this.compact.addEventListener("change", () => history.change({ compact: this.compact.checked }));
    find("filter-reset").addEventListener("click", () => {
      actions.resetFilters();
      // The button hides itself; the focus goes to what it reset.
      this.kinds[0]?.focus();
    });

    this.kinds = [...graph.kinds].map(([kind, count]) =>
      chip(kind, () => actions.toggleKind(kind),
        kindIcon(kind), kindName(kind), make("span", { class: "note" }, count.toLocaleString("en-US"))));
    find("kinds").append(...this.kinds);

    const heads = unique(graph.nodes.filter((node) => node.kind === "head").map((node) => node.head))
      .filter((head) => head !== null).sort((a, b) => a - b);
    this.heads = heads.map((head) => chip(head, () => actions.toggleHead(head), `${head}`));
    find("heads").append(...this.heads);
    find("heads-box").hidden = !heads.length;

    this.tokens = graph.tokens.map((_, pos) =>
      chip(pos, () => actions.toggleToken(pos), ...tokenText(pos, graph, 18)));
    find("tokens").append(...this.tokens);

    this.ends = [findAs(HTMLInputElement, "layer-from"), findAs(HTMLInputElement, "layer-to")];
    for (const end of this.ends) {
      end.min = `${graph.lowest}`;
      end.max = `${graph.highest}`;
      end.addEventListener("change", () => this.changeLayers());
    }
  }

  changeLayers() {
    const { graph: { lowest, highest }, history } = this.session;
    const [low, high] = this.ends.map((end, i) =>
      end.value === "" ? [lowest, highest][i] : clamp(Math.round(end.valueAsNumber), lowest, highest));
    const all = low <= lowest && high >= highest;
    history.change({ layers: all ? null : [Math.min(low, high), Math.max(low, high)] });
    this.showLayers(history.state.layers);
  }

  /** @param {State["layers"]} layers */
  showLayers(layers) {
    const { graph } = this.session;
    (layers ?? [graph.lowest, graph.highest]).forEach((layer, i) => {
      this.ends[i].value = `${layer}`;
    });
  }

  /** @param {Snapshot} snapshot */
  render({ state, shown }) {
    const { graph } = this.session;
    const share = Math.round(1000 * state.share);
    if (Number(this.slider.value) !== share) this.slider.value = `${share}`;
    const percent = `${(100 * state.share).toFixed(1)}%`;
    find("share-value").textContent = percent;
    this.slider.setAttribute("aria-valuetext", `${percent} of all absolute edge weight`);
    find("share-note").textContent = state.share >= 1
      ? "All edges."
      : `The strongest edges, holding this share of all |weight|: those from ${showNumber(shown.threshold)} up.`;
    /** @param {number[]} counts */
    const of = (...counts) => counts.map((count) => count.toLocaleString("en-US")).join(" of ");
    find("counts").replaceChildren(
      make("dt", {}, "Edges"), make("dd", {}, of(shown.edgeCount, graph.edges.length)),
      make("dt", {}, "Nodes"), make("dd", {}, of(shown.nodes.length, graph.nodes.length)),
      make("dt", {}, "Reach the logit"), make("dd", {},
        `${showCount(shown.leadingEdges, "edge")}, ${showCount(shown.leadingNodes, "node")}`),
    );
    this.rooted.checked = state.rooted;
    this.compact.checked = state.compact;

    press(this.kinds, (kind) => !state.hidden.includes(kind));
    press(this.heads, (head) => state.heads.includes(Number(head)));
    press(this.tokens, (pos) => state.tokens.includes(Number(pos)));
    find("heads-note").textContent = state.heads.length ? `only ${state.heads.join(", ")}` : "all";
    find("tokens-note").textContent = state.tokens.length ? `only ${state.tokens.join(", ")}` : "all";
    this.showLayers(state.layers);
    find("filter-reset").hidden =
      !(state.hidden.length || state.heads.length || state.tokens.length || state.layers);
  }
}

/**
 * A button that can be pressed.
 *
 * @param {string | number} value
 * @param {() => void} onclick
 * @param {...(Element | string)} content
 */
function chip(value, onclick, ...content) {
  return make("button", { type: "button", class: "chip", "data-value": value, onclick }, content);
}

/** @param {HTMLElement[]} chips @param {(value: string) => boolean} isPressed */
function press(chips, isPressed) {
  for (const chip of chips) chip.setAttribute("aria-pressed", String(isPressed(chip.dataset.value ?? "")));
}

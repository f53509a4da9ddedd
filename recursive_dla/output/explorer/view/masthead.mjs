// The head of the page: what the graph explains, and how it was made.

import { kindName } from "../model/graph.mjs";
import { showCount, showNumber, showProse } from "../model/text.mjs";
import { find, findAs, make } from "./dom.mjs";
import { kindIcon } from "./icons.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Metadata, Theme } from "../model/types.d.mts" */

/** @type {Record<"system" | "light" | "dark", { icon: string, name: string, next: Theme }>} */
const THEMES = {
  system: { icon: "◐", name: "as the system", next: "light" },
  light: { icon: "☀", name: "light", next: "dark" },
  dark: { icon: "☾", name: "dark", next: null },
};

export class Masthead {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.help = findAs(HTMLDialogElement, "help");
    const { graph: { metadata }, history } = session;
    const target = metadata.target ?? {};
    const model = showProse(`${metadata.model ?? "Attribution graph"}`);
    document.title = `${showProse(target.label ?? "attribution")} · ${model}`;
    find("title").textContent = model;
    find("prompt").textContent = showProse(metadata.prompt ?? "");
    find("prompt").title = find("prompt").textContent;
    find("facts").append(...facts(metadata));
    find("legend").append(...this.legend());

    find("undo").addEventListener("click", () => history.undo());
    find("redo").addEventListener("click", () => history.redo());
    document.addEventListener("pointerdown", (event) => closePopovers(event.target));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && closePopovers(null)) event.preventDefault();
    });
    find("theme").addEventListener("click", () => {
      session.setTheme(THEMES[session.theme ?? "system"].next);
    });
    find("help-open").addEventListener("click", () => this.openHelp());
    find("help-close").addEventListener("click", () => this.help.close());
    find("zoom-in").addEventListener("click", () => session.zoom(1.4));
    find("zoom-out").addEventListener("click", () => session.zoom(1 / 1.4));
    find("zoom-fit").addEventListener("click", () => session.fit());
  }

  render() {
    const { history, theme } = this.session;
    // A disabled button would lose the focus in the middle of undoing.
    find("undo").setAttribute("aria-disabled", String(!history.past.length));
    find("redo").setAttribute("aria-disabled", String(!history.future.length));
    const { icon, name } = THEMES[theme ?? "system"];
    find("theme").textContent = icon;
    find("theme").title = `Colours: ${name}`;
    find("theme").setAttribute("aria-label", `Colours: ${name}`);
  }

  openHelp() {
    this.help.showModal();
  }

  legend() {
    const { graph } = this.session;
    const limit = showNumber(graph.largest);
    return [
      make("span", { class: "legend__scale" },
        make("span", {}, `−${limit}`),
        make("span", { class: "legend__ramp", role: "img", "aria-label": "Colour scale, negative to positive" }),
        make("span", {}, `+${limit}`)),
      ...[...graph.kinds.keys()].map((kind) => make("span", { class: "legend__kind" }, kindIcon(kind), kindName(kind))),
    ];
  }
}

/** What is known of the explanation, as terms and their values. @param {Metadata} metadata */
function facts(metadata) {
  const { target = {}, value, completeness_error: error, rule } = metadata;
  /** @type {Element[]} */
  const found = [];
  /** @param {string} name @param {Element | string} value @param {string | null} note */
  const add = (name, value, note = null) =>
    found.push(make("div", {}, make("dt", {}, name),
      make("dd", {}, value, note && make("span", { class: "note" }, ` ${note}`))));
  if (target.label !== undefined) {
    add("Target", make("bdi", {}, showProse(target.label)), target.pos === undefined ? null : `at ${target.pos}`);
  }
  if (value !== undefined) add(target.wrong_answer ? "Logit difference" : "Value", showNumber(value), "logits");
  if (error !== undefined) add("Completeness error", showNumber(error));
  if (rule !== undefined) add("Rule", showProse(`${rule}`));
  add("Pruning", pruning(metadata.pruning));
  return found;
}

/** @param {Metadata["pruning"]} settings */
function pruning(settings) {
  const entries = settings && typeof settings === "object" ? Object.entries(settings) : [];
  if (!entries.length) return "none";
  return make("details", { class: "popover" },
    make("summary", {}, showCount(entries.length, "setting")),
    make("dl", {}, entries.flatMap(([name, value]) => [
      make("dt", {}, showProse(name.replaceAll("_", " "))), make("dd", {}, showProse(showSetting(value)))])));
}

/** Closes every popover that does not hold `target`; whether there was one. @param {EventTarget | null} target */
function closePopovers(target) {
  const inside = target instanceof Node ? target : null;
  /** @type {NodeListOf<HTMLDetailsElement>} */
  const popovers = document.querySelectorAll(".popover[open]");
  const open = [...popovers].filter((popover) => !popover.contains(inside));
  for (const popover of open) popover.open = false;
  return open.length > 0;
}

/** @param {unknown} value */
function showSetting(value) {
  if (typeof value === "number") return Number.isInteger(value) ? `${value}` : `${+value.toPrecision(6)}`;
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}

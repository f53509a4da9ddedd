// The keyboard: walking the graph, and shortcuts for the whole page.

import { showCount, showSigned } from "../model/text.mjs";
import { neighbour } from "../model/walk.mjs";
import { announce, find, findAs, focused } from "./dom.mjs";
import { itemLabel } from "./icons.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Item } from "../model/types.d.mts" */

/** To the right and downwards. @type {Record<string, [number, number]>} */
const DIRECTIONS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

export class Keyboard {
  /**
   * @param {Session} session
   * @param {HTMLElement} walker What has the focus while its keys walk the graph.
   * @param {{ group: () => void, help: () => void }} parts What other parts of the page do for keys.
   */
  constructor(session, walker, { group, help }) {
    this.session = session;
    this.walker = walker;
    /** @type {Record<string, () => void>} */
    this.shortcuts = {
      p: () => this.pin(),
      g: group,
      "/": () => find("search").focus(),
      "?": help,
      "+": () => session.zoom(1.4),
      "=": () => session.zoom(1.4),
      "-": () => session.zoom(1 / 1.4),
      0: () => session.fit(),
    };
    walker.addEventListener("keydown", (event) => this.walk(event));
    document.addEventListener("keydown", (event) => this.shortcut(event));
  }

  /** @param {KeyboardEvent} event */
  walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const goal = this.goal(event.key);
    if (goal === undefined) return;
    event.preventDefault();
    if (goal) this.session.setCursor(goal);
  }

  /**
   * Where a key leads; null for nowhere, undefined for other keys.
   *
   * @param {string} key
   * @returns {Item | null | undefined}
   */
  goal(key) {
    const { actions, cursor, graph } = this.session;
    const { at, shown: { edges, items } } = this.session.view();
    /** @type {Item[]} */
    const roots = graph.roots;
    if (!cursor) return undefined;
    if (Object.hasOwn(DIRECTIONS, key)) return neighbour(cursor, DIRECTIONS[key], items, at);
    switch (key) {
      case "PageDown": return items[items.indexOf(cursor) + 1] ?? null;
      case "PageUp": return items[items.indexOf(cursor) - 1] ?? null;
      case "Home": return items.find((item) => roots.includes(item)) ?? items[0];
      case "End": return items.at(-1);
      // The strongest come first.
      case "i": return edges.find(({ target }) => target === cursor)?.source ?? null;
      case "o": return edges.find(({ source }) => source === cursor)?.target ?? null;
      case "Enter":
      case " ":
        actions.select(cursor);
        return cursor;
      default: return undefined;
    }
  }

  /** Puts the node at the cursor into words for screen readers. */
  describe() {
    const { cursor, graph } = this.session;
    const { shown, selected } = this.session.view();
    const option = find("walker-node");
    if (!cursor) {
      option.textContent = "No node is shown";
      return;
    }
    option.textContent = [
      itemLabel(cursor, graph),
      `${showSigned(cursor.attribution)} logits`,
      showCount(cursor.inputs.length, "input"),
      showCount(cursor.outputs.length, "output"),
    ].join(", ");
    option.setAttribute("aria-selected", String(cursor === selected));
    option.setAttribute("aria-setsize", `${shown.items.length}`);
    option.setAttribute("aria-posinset", `${shown.items.indexOf(cursor) + 1}`);
  }

  /** @param {KeyboardEvent} event */
  shortcut(event) {
    if (findAs(HTMLDialogElement, "help").open) return;
    const { actions, history } = this.session;
    const typing = event.target instanceof Element
      && event.target.matches("input:not([type=range], [type=checkbox]), textarea");
    const held = event.ctrlKey || event.metaKey;
    if (held && !event.altKey && !typing) {
      const key = event.key.toLowerCase();
      if (key === "z" && !event.shiftKey) history.undo();
      else if (key === "y" || key === "z") history.redo();
      else return;
      event.preventDefault();
      return;
    }
    if (event.key === "Escape" && !event.defaultPrevented && !typing) actions.select(null);
    if (typing || held || event.altKey) return;
    if (!Object.hasOwn(this.shortcuts, event.key)) return;
    event.preventDefault();
    this.shortcuts[event.key]();
  }

  /** Pins what the focus is on: a row, the walker's node, or the selection. */
  pin() {
    const { session } = this;
    const focus = focused();
    /** @type {HTMLElement | null | undefined} */
    const row = focus?.closest("[data-node]");
    const item = row
      ? session.itemAt(Number(row.dataset.node))
      : focus === this.walker ? session.cursor : session.view().selected;
    if (item) session.actions.togglePin(item);
    else announce("Select a node to pin it.");
  }
}

// One line of a list: an item and how much flows from or to it.

import { isGroup, itemName } from "../model/groups.mjs";
import { showShare, showSigned } from "../model/text.mjs";
import { closest, make, refill } from "./dom.mjs";
import { itemLabel, markIcon, tokenChip } from "./icons.mjs";

/** @import { Graph } from "../model/graph.mjs" */
/** @import { Session } from "../model/session.mjs" */
/** @import { Item } from "../model/types.d.mts" */

/**
 * A flow as it is shown: `whole` is what shares are of, `most` the flow that fills half the bar.
 *
 * @typedef {{ flow: number, whole: number, most: number, approximate?: boolean }} Flow
 */

/** The cells of a row. @param {Item} item @param {Flow} flow @param {Session} session */
export function rowCells(item, flow, session) {
  const { graph, actions } = session;
  const pinned = !isGroup(item) && actions.isPinned(item);
  const away = !session.isDrawn(item);
  return [
    markIcon(item, graph),
    make("span", { class: `row__name ${away ? "is-away" : ""}`, title: away && "Not in the drawing at present" },
      make("span", { class: "row__component" }, itemName(item)),
      isGroup(item) ? null : tokenChip(item.pos, graph),
      pinned && make("span", { class: "row__pin", title: "Pinned" }, "●")),
    ...flowCells(flow),
  ];
}

/** @param {Flow} flow */
export function flowCells({ flow, whole, most, approximate = false }) {
  return [
    flowBar(flow, most),
    make("span", { class: "row__flow" }, `${approximate ? "≈ " : ""}${showSigned(flow)}`),
    make("span", { class: "row__share" }, showShare(flow, whole)),
  ];
}

/** A bar from the middle: to the right for gains, to the left for losses. @param {number} flow @param {number} most */
function flowBar(flow, most) {
  const bar = make("span", { class: `bar__fill ${flow < 0 ? "is-negative" : "is-positive"}` });
  const length = Number.isFinite(flow) && most > 0 ? 50 * Math.min(1, Math.abs(flow) / most) : 0;
  bar.style.width = `${length}%`;
  bar.style.left = `${flow < 0 ? 50 - length : 50}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, bar);
}

/** A row in words. @param {Item} item @param {number} flow @param {number} whole @param {Graph} graph */
function flowLabel(item, flow, whole, graph) {
  return `${itemLabel(item, graph)}, ${showSigned(flow)} logits, ${showShare(flow, whole)}`;
}

/**
 * A list of items, each a button that selects it. Arrow keys move within the
 * list; `limit` rows are shown, the rest on request.
 */
export class RowList {
  /**
   * @param {Session} session
   * @param {string} name
   * @param {(key: string) => void} focusOn Gives the focus to what is marked with a key.
   */
  constructor(session, name, focusOn) {
    this.session = session;
    this.name = name;
    this.focusOn = focusOn;
    /** @type {Map<string | number, number>} */
    this.limits = new Map();
    /** Shows more of the list that is shown. */
    this.showMore = () => {};
    this.element = make("ul", {
      class: "rows",
      onkeydown: (event) => this.move(event),
      onclick: (event) => this.click(event),
      onpointerover: (event) => this.hover(event),
      onpointerleave: () => session.hover(null),
    });
  }

  /**
   * @param {string | number} key Whose list this is.
   * @param {[Item, number][]} flows
   * @param {{ whole: number, limit: number, label: string }} settings
   */
  render(key, flows, { whole, limit, label }) {
    const shown = this.limits.get(key) ?? limit;
    const most = flows.reduce((top, [, flow]) => Math.max(top, Math.abs(flow)), 0);
    const rows = flows.slice(0, shown).map(([item, flow]) => this.row(item, flow, { whole, most }));
    if (flows.length > shown) rows.push(this.moreRow(flows.slice(shown)));
    this.showMore = () => {
      this.limits.set(key, shown + 50);
      this.session.refresh();
      this.focusOn(`${this.name} ${flows[shown][0].index}`);
    };
    this.element.setAttribute("aria-label", label);
    refill(this.element, rows);
    return this.element;
  }

  /** @param {[Item, number][]} left */
  moreRow(left) {
    const sum = left.reduce((total, [, flow]) => total + flow, 0);
    return make("li", {}, make("button", {
      type: "button", class: "row row--more", "data-focus": `${this.name} more`,
    }, `${left.length.toLocaleString("en-US")} more, in sum ${showSigned(sum)}`));
  }

  /** @param {Item} item @param {number} flow @param {{ whole: number, most: number }} scale */
  row(item, flow, { whole, most }) {
    const { session } = this;
    return make("li", {}, make("button", {
      type: "button",
      class: "row",
      "aria-label": flowLabel(item, flow, whole, session.graph),
      "data-node": item.index,
      "data-focus": `${this.name} ${item.index}`,
    }, rowCells(item, { flow, whole, most }, session)));
  }

  /** @param {Event} event */
  itemOf(event) {
    const row = closest(event, "[data-node]");
    return row && this.session.itemAt(Number(row.dataset.node));
  }

  /** @param {Event} event */
  hover(event) {
    const item = this.itemOf(event);
    this.session.hover(item && this.session.drawnFor(item));
  }

  /** @param {Event} event */
  click(event) {
    const item = this.itemOf(event);
    if (item) this.session.goTo(item);
    else if (closest(event, ".row--more")) this.showMore();
  }

  /** @param {KeyboardEvent} event */
  move(event) {
    const step = stepOf(event.key);
    const row = closest(event, "button.row");
    if (!step || !row) return;
    event.preventDefault();
    const rows = [...this.element.querySelectorAll("button")];
    rows[rows.findIndex((other) => other === row) + step]?.focus();
  }
}

/** How far a key goes down a list. @param {string} key */
export function stepOf(key) {
  return key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
}

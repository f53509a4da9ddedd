// The tree of inputs in the panel.

import { itemKey } from "../model/groups.mjs";
import { treeRows } from "../model/input_tree.mjs";
import { showShare, showSigned } from "../model/text.mjs";
import { closest, make, refill } from "./dom.mjs";
import { itemLabel } from "./icons.mjs";
import { flowCells, rowCells } from "./rows.mjs";

/** @import { TreeRow } from "../model/input_tree.mjs" */
/** @import { Session } from "../model/session.mjs" */
/** @import { Item } from "../model/types.d.mts" */
/** @import { Flow } from "./rows.mjs" */

export class Tree {
  /** @param {Session} session @param {(key: string) => void} focusOn Gives the focus to what is marked with a key. */
  constructor(session, focusOn) {
    this.session = session;
    this.focusOn = focusOn;
    /** @type {Map<string, number>} */
    this.limits = new Map();
    /** @type {Item | null} */
    this.root = null;
    /** @type {TreeRow[]} */
    this.rows = [];
    /** @type {string | null} The path of the row that can have the focus. */
    this.active = null;
    this.element = make("ul", {
      class: "rows rows--tree", role: "tree", "aria-label": "Inputs",
      onkeydown: (event) => this.keydown(event),
      onclick: (event) => this.click(event),
      onfocusin: (event) => this.activate(this.rowOf(event)),
      onpointerover: (event) => this.hover(event),
      onpointerleave: () => session.hover(null),
    });
  }

  /** @param {Item} root @param {string[]} open */
  render(root, open) {
    if (this.root !== root) {
      if (!this.root || itemKey(this.root) !== itemKey(root)) {
        this.limits.clear();
        this.active = null;
      }
      this.root = root;
    }
    this.rows = treeRows(root, open, this.limits);
    if (!this.rows.some((row) => row.path === this.active)) this.active = this.rows[0]?.path ?? null;
    const most = this.rows.reduce((top, row) =>
      row.depth === 1 && Number.isFinite(row.flow) ? Math.max(top, Math.abs(row.flow)) : top, 0);
    refill(this.element, this.rows.map((row) => this.row(row, { whole: root.attribution, most })));
    return this.element;
  }

  /** @param {TreeRow} row @param {{ whole: number, most: number }} scale */
  row(row, { whole, most }) {
    const input = row.type === "input" ? row : null;
    const element = make("li", {
      class: `row row--${row.type}`,
      role: "treeitem",
      tabindex: row.path === this.active ? 0 : -1,
      "aria-level": row.depth,
      "aria-posinset": row.place,
      "aria-setsize": row.size,
      "aria-expanded": input?.expandable ? String(input.expanded) : null,
      "aria-label": this.label(row, whole),
      "data-path": row.path,
      "data-focus": `tree ${row.path}`,
      "data-node": input?.item.index,
      title: row.approximate ? "A node above nets to nearly zero: its shares, and so this flow, mean little" : null,
    }, this.cells(row, { flow: row.flow, whole, most, approximate: row.approximate }));
    element.style.setProperty("--depth", `${row.depth - 1}`);
    return element;
  }

  /** @param {TreeRow} row @param {Flow} flow */
  cells(row, flow) {
    const sign = row.type === "input" && row.expandable ? (row.expanded ? "▾" : "▸") : "";
    const twist = make("span", { class: "row__twist", "aria-hidden": "true" }, sign);
    if (row.type === "input") return [twist, ...rowCells(row.item, flow, this.session)];
    const name = row.type === "more" ? `${row.left.toLocaleString("en-US")} more` : "rest (cut)";
    return [twist, make("span", { class: "mark" }), make("span", { class: "row__name" }, name), ...flowCells(flow)];
  }

  /** @param {TreeRow} row @param {number} whole */
  label(row, whole) {
    const about = row.approximate ? "about " : "";
    const flow = `${about}${showSigned(row.flow)} logits, ${showShare(row.flow, whole)}`;
    if (row.type === "more") return `Show more, ${row.left} left, in sum ${flow}`;
    if (row.type === "rest") return `Rest, cut by pruning, ${flow}`;
    return `${itemLabel(row.item, this.session.graph)}, ${flow}`;
  }

  /** Makes a row the one that can have the focus. @param {TreeRow | undefined} row */
  activate(row) {
    if (!row || row.path === this.active) return;
    for (const element of this.element.querySelectorAll("li")) {
      element.tabIndex = element.dataset.path === row.path ? 0 : -1;
    }
    this.active = row.path;
  }

  /** @param {Event} event */
  rowOf(event) {
    const path = closest(event, "[role=treeitem]")?.dataset.path;
    return this.rows.find((row) => row.path === path);
  }

  /** @param {Event} event */
  hover(event) {
    const row = this.rowOf(event);
    this.session.hover(row?.type === "input" ? this.session.drawnFor(row.item) : null);
  }

  /** @param {Event} event */
  click(event) {
    const row = this.rowOf(event);
    if (!row) return;
    this.activate(row);
    if (closest(event, ".row__twist") && isExpandable(row)) this.toggle(row);
    else this.enter(row);
  }

  /** @param {TreeRow} row */
  enter(row) {
    if (row.type === "more") {
      this.limits.set(row.parent, row.limit + 50);
      // The rows that come take the place of this one.
      const next = this.rows.indexOf(row);
      this.session.refresh();
      this.focus(next);
    } else if (row.type === "input") {
      this.session.goTo(row.item);
    }
  }

  /** @param {TreeRow} row */
  toggle(row) {
    this.session.actions.toggleOpen(row.path);
  }

  /** @param {KeyboardEvent} event */
  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rowOf(event);
    if (!row) return;
    const at = this.rows.indexOf(row);
    const expanded = row.type === "input" && row.expanded;
    /** @type {Record<string, () => void>} */
    const moves = {
      ArrowDown: () => this.focus(at + 1),
      ArrowUp: () => this.focus(at - 1),
      Home: () => this.focus(0),
      End: () => this.focus(this.rows.length - 1),
      ArrowRight: () => {
        if (isExpandable(row) && !expanded) this.toggle(row);
        else if (expanded) this.focus(at + 1);
      },
      ArrowLeft: () => {
        if (expanded) this.toggle(row);
        else this.focus(this.rows.findLastIndex((other, i) => i < at && other.depth < row.depth));
      },
      Enter: () => this.enter(row),
      " ": () => (isExpandable(row) ? this.toggle(row) : this.enter(row)),
    };
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    moves[event.key]();
  }

  /** @param {number} place */
  focus(place) {
    const row = this.rows[place];
    if (row) this.focusOn(`tree ${row.path}`);
  }
}

/** @param {TreeRow} row */
function isExpandable(row) {
  return row.type === "input" && row.expandable;
}

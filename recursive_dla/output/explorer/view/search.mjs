// The search field and what it finds.

import { itemName } from "../model/groups.mjs";
import { showCount, showSigned } from "../model/text.mjs";
import { find, findAs, make } from "./dom.mjs";
import { itemLabel, markIcon, tokenChip } from "./icons.mjs";
import { stepOf } from "./rows.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { GraphNode } from "../model/types.d.mts" */

const FOUND_LIMIT = 40;

export class Search {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.field = findAs(HTMLInputElement, "search");
    this.list = find("found");
    /** @type {GraphNode[]} */
    this.found = [];
    this.active = -1;
    this.field.addEventListener("input", () => {
      this.active = -1;
      session.history.change({ query: this.field.value }, "search");
    });
    this.field.addEventListener("keydown", (event) => this.keydown(event));
  }

  /** @param {Snapshot} snapshot */
  render({ state, found }) {
    if (this.field.value !== state.query) this.field.value = state.query;
    if (this.found !== found) {
      this.found = found;
      this.active = -1;
      this.list.replaceChildren(...found.slice(0, FOUND_LIMIT).map((node, i) => this.option(node, i)));
    }
    const searching = state.query.trim() !== "";
    this.list.hidden = !found.length;
    this.field.setAttribute("aria-expanded", String(found.length > 0));
    find("found-count").textContent = !searching ? "" : found.length > FOUND_LIMIT
      ? `${showCount(found.length, "node")} found, the ${FOUND_LIMIT} strongest listed`
      : `${showCount(found.length, "node")} found`;
    this.mark();
  }

  /** @param {GraphNode} node @param {number} i */
  option(node, i) {
    const { session } = this;
    return make("li", {
      class: "row row--found", role: "option", id: `found-${i}`, "aria-selected": "false",
      "aria-label": `${itemLabel(node, session.graph)}, ${showSigned(node.attribution)} logits`,
      onclick: () => session.goTo(node),
      onpointerenter: () => session.hover(session.drawnFor(node)),
      onpointerleave: () => session.hover(null),
    },
    markIcon(node, session.graph),
    make("span", { class: "row__name" },
      make("span", { class: "row__component" }, itemName(node)), tokenChip(node.pos, session.graph)),
    make("span", { class: "row__flow" }, showSigned(node.attribution)));
  }

  mark() {
    [...this.list.children].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === this.active));
    });
    const option = this.list.children[this.active];
    if (option) {
      this.field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      this.field.removeAttribute("aria-activedescendant");
    }
  }

  /** @param {KeyboardEvent} event */
  keydown(event) {
    const count = this.list.children.length;
    const step = stepOf(event.key);
    if (step && count) {
      const from = this.active < 0 && step < 0 ? 0 : this.active;
      this.active = (from + step + count) % count;
      this.mark();
    } else if (event.key === "Enter" && count) {
      this.session.goTo(this.found[Math.max(0, this.active)]);
    } else if (event.key === "Escape") {
      this.session.history.change({ query: "" });
    } else {
      return;
    }
    event.preventDefault();
  }
}

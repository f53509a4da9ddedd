// The panel beside the graph: the selected node or group, or an overview.

import { byAttribution, kindName } from "../model/graph.mjs";
import { isGroup, itemKey, itemName } from "../model/groups.mjs";
import { showCount, showProse, showShare, showSigned } from "../model/text.mjs";
import { fill, find, focused, make } from "./dom.mjs";
import { markIcon, tokenChip } from "./icons.mjs";
import { RowList, flowCells } from "./rows.mjs";
import { Tree } from "./tree.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Shown } from "../model/shown.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { Edge, GraphNode, Group, Item, State } from "../model/types.d.mts" */

const OVERVIEW_LIMIT = 30;
const OUTPUTS_LIMIT = 6;
const MEMBERS_LIMIT = 12;

export class Panel {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.element = find("panel");
    const focusOn = (/** @type {string} */ key) => this.focusOn(key);
    this.tree = new Tree(session, focusOn);
    this.strongest = new RowList(session, "strongest", focusOn);
    this.outputs = new RowList(session, "outputs", focusOn);
    this.members = new RowList(session, "members", focusOn);
    /** @type {string | number | null | undefined} The key of the item that is shown. */
    this.subject = undefined;
  }

  /** @param {Snapshot} snapshot */
  render({ state, shown, selected }) {
    const subject = selected && itemKey(selected);
    const focus = this.focusKey();
    const scrolled = this.element.scrollTop;
    fill(this.element, selected ? this.details(selected, state) : this.overview(shown));
    // Setting it lays out the page at once, so not without need.
    if (scrolled) this.element.scrollTop = subject === this.subject ? scrolled : 0;
    if (focus !== null) this.focusOn(subject === this.subject ? focus : null);
    this.subject = subject;
  }

  /** Which part of the panel has the focus; null if it is elsewhere. */
  focusKey() {
    const active = focused();
    return active && this.element.contains(active) && active !== this.element ? active.dataset.focus ?? "" : null;
  }

  /** Gives the focus to a part, or to the heading if that is gone. @param {string | null} key */
  focusOn(key) {
    /** @type {NodeListOf<HTMLElement>} */
    const parts = this.element.querySelectorAll("[data-focus]");
    ([...parts].find((part) => part.dataset.focus === key) ?? this.element.querySelector("h2"))?.focus();
  }

  /** @param {Shown} shown */
  overview(shown) {
    const { graph } = this.session;
    /** @type {Set<Item>} */
    const roots = new Set(graph.roots);
    /** @type {[Item, number][]} */
    const flows = shown.items
      .filter((item) => !roots.has(item))
      .map((item) => [item, item.attribution]);
    const whole = graph.metadata.value ?? graph.roots[0]?.attribution ?? 0;
    const start = graph.roots.map((root) => make("button", {
      type: "button", class: "button", "data-focus": `root ${root.index}`, onclick: () => this.session.goTo(root),
    }, `Start at ${itemName(root)}`));
    return [
      make("header", { class: "panel__head" },
        make("h2", { tabindex: -1 }, "Strongest nodes"),
        make("p", { class: "note" },
          "Of what is shown, with shares of the explained value. Pick one to see what it is made of."),
        make("div", { class: "buttons" }, start)),
      this.strongest.render("all", flows, { whole, limit: OVERVIEW_LIMIT, label: "Strongest nodes" }),
    ];
  }

  /** @param {Item} item @param {State} state */
  details(item, state) {
    return [
      this.head(item),
      this.balance(item),
      ...(isGroup(item) ? this.memberSection(item) : this.mergedSection(item)),
      ...this.outputSection(item),
      ...this.inputSection(item, state.open),
    ];
  }

  /** @param {Item} item */
  head(item) {
    const { session } = this;
    const { graph, actions } = session;
    const where = isGroup(item)
      ? showCount(item.members.length, "node")
      : [kindName(item.kind), ...this.place(item)].join(" · ");
    const value = graph.metadata.value;
    return make("header", { class: "panel__head" },
      make("h2", { tabindex: -1 },
        markIcon(item, graph), make("span", {}, itemName(item)), isGroup(item) ? null : tokenChip(item.pos, graph)),
      make("p", { class: "note" }, where),
      make("p", { class: "amount" },
        make("strong", { class: item.attribution < 0 ? "is-negative" : "is-positive" }, showSigned(item.attribution)),
        " logits", value ? make("span", { class: "note" }, ` ${showShare(item.attribution, value)} of the value`) : null),
      make("div", { class: "buttons" },
        isGroup(item) ? this.ungroupButton(item) : this.pinButton(item),
        make("button", {
          type: "button", class: "button", "data-focus": "find", onclick: () => session.reveal(item),
        }, "Find in graph"),
        make("button", {
          type: "button", class: "button", "data-focus": "close", onclick: () => actions.select(null),
        }, "Close")));
  }

  /** @param {Group} group */
  ungroupButton({ key }) {
    return make("button", {
      type: "button", class: "button", "data-focus": "ungroup", onclick: () => this.session.actions.ungroup(key),
    }, "Ungroup");
  }

  /** @param {GraphNode} node */
  pinButton(node) {
    const { actions } = this.session;
    const pinned = actions.isPinned(node);
    return make("button", {
      type: "button", class: "button", "data-focus": "pin", "aria-pressed": String(pinned),
      onclick: () => actions.togglePin(node),
    }, pinned ? "Unpin" : "Pin");
  }

  /** Where in the model a node is, and what else it is called. @param {GraphNode} node */
  place(node) {
    const { component, head, kind, layer, merged } = node;
    if (merged.length) return [showCount(merged.length, "node")];
    const parts = [];
    if (layer >= 0 && kind !== "logit") parts.push(kind === "head" ? `layer ${layer}, head ${head}` : `layer ${layer}`);
    if (component !== itemName(node)) parts.push(showProse(component));
    return parts;
  }

  /** How the item's flow adds up, on either side. @param {Item} item */
  balance(item) {
    const inner = isGroup(item) ? item.inner : 0;
    /** @param {string} name @param {Edge[]} edges @param {number} rest */
    const side = (name, edges, rest) => {
      const sum = edges.reduce((total, edge) => total + edge.weight, 0);
      if (!edges.length && !rest) return [make("dt", {}, name), make("dd", {}, "none")];
      const parts = [showSigned(sum)];
      if (inner) parts.push(`${showSigned(inner)} among members`);
      if (rest) parts.push(`${showSigned(rest)} cut`);
      return [make("dt", {}, name), make("dd", {}, parts.join("  "))];
    };
    return make("dl", { class: "balance" },
      side("Inputs", item.inputs, item.restIn),
      side("Outputs", item.outputs, item.restOut));
  }

  /** @param {Group} group */
  memberSection(group) {
    /** @type {[Item, number][]} */
    const flows = group.members.map((member) => [member, member.attribution]);
    return [
      sectionTitle("Members", "their attributions"),
      this.members.render(itemKey(group), flows, {
        whole: group.attribution, limit: MEMBERS_LIMIT, label: "Members",
      }),
    ];
  }

  /** What a node stands for that was merged from others before the page was made. @param {GraphNode} item */
  mergedSection(item) {
    if (!item.merged.length) return [];
    const { graph } = this.session;
    const byStrength = [...item.merged].sort(byAttribution);
    const most = Math.abs(byStrength[0].attribution);
    return [
      sectionTitle("Members", "their attributions, before they were merged"),
      make("ul", { class: "rows", "aria-label": "Members" }, byStrength.map((member) =>
        make("li", { class: "row row--merged" },
          markIcon(member, graph),
          make("span", { class: "row__name" },
            make("span", { class: "row__component" }, itemName(member)), tokenChip(member.pos, graph)),
          ...flowCells({ flow: member.attribution, whole: item.attribution, most })))),
    ];
  }

  /** @param {Item} item */
  outputSection(item) {
    if (!item.outputs.length) return [];
    /** @type {[Item, number][]} */
    const flows = item.outputs.map((edge) => [edge.target, edge.weight]);
    return [
      sectionTitle("Outputs", "what it is read into"),
      this.outputs.render(itemKey(item), flows, {
        whole: item.attribution, limit: OUTPUTS_LIMIT, label: "Outputs",
      }),
    ];
  }

  /** @param {Item} item @param {string[]} open */
  inputSection(item, open) {
    if (!item.inputs.length && !item.restIn) {
      return [make("p", { class: "note" }, "Nothing flows in: this is where the graph ends.")];
    }
    return [sectionTitle("Inputs", "unfold with ▸ to go deeper"), this.tree.render(item, open)];
  }
}

/** @param {string} name @param {string} note */
function sectionTitle(name, note) {
  return make("h3", {}, name, " ", make("span", { class: "note" }, note));
}

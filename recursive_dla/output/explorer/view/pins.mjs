// The list of pins and of the groups made of them.

import { isGroup, itemName } from "../model/groups.mjs";
import { showCount, showSigned } from "../model/text.mjs";
import { find, focused, make } from "./dom.mjs";
import { itemLabel, markIcon, tokenChip } from "./icons.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { GraphNode, Group, Item } from "../model/types.d.mts" */

export class Pins {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.element = find("pins");
    /** @type {Set<string>} Pins ticked for the next group; none stands for all. */
    this.ticked = new Set();
  }

  /** @param {Snapshot} snapshot */
  render({ state, groups }) {
    const focus = focused()?.dataset.pin;
    const had = this.element.contains(document.activeElement);
    for (const id of this.ticked) if (!state.pins.includes(id)) this.ticked.delete(id);
    this.element.replaceChildren(
      ...(groups.items.length ? [make("ul", { class: "pins" }, groups.items.map((item) => this.groupRow(item)))] : []),
      state.pins.length
        ? make("ul", { class: "pins" }, state.pins.map((id) => this.pinRow(this.session.graph.node(id))))
        : make("p", { class: "note" }, groups.items.length
          ? "No other pins."
          : "Pin nodes with P or Shift + click to keep them in sight, then group them into one node."),
      ...(state.pins.length ? [this.buttons(state.pins)] : []),
    );
    if (had) (this.part(focus) ?? find("pins-title")).focus();
  }

  /** What is marked with a key. @param {string | undefined} key */
  part(key) {
    /** @type {NodeListOf<HTMLElement>} */
    const parts = this.element.querySelectorAll("[data-pin]");
    return [...parts].find((part) => part.dataset.pin === key);
  }

  /** @param {GraphNode} node */
  pinRow(node) {
    const { actions, graph } = this.session;
    const label = itemLabel(node, graph);
    const tick = make("input", {
      type: "checkbox", "aria-label": `Take ${label} into the next group`, "data-pin": `tick ${node.index}`,
      onchange: () => {
        if (tick.checked) this.ticked.add(node.id);
        else this.ticked.delete(node.id);
      },
    });
    tick.checked = this.ticked.has(node.id);
    return make("li", { class: "pin" },
      tick,
      this.goButton(node, [
        markIcon(node, graph), make("span", { class: "row__component" }, itemName(node)), tokenChip(node.pos, graph)]),
      make("span", { class: "row__flow" }, showSigned(node.attribution)),
      make("button", {
        type: "button", class: "tool tool--small", "aria-label": `Unpin ${label}`, "data-pin": `drop ${node.index}`,
        onclick: () => actions.togglePin(node),
      }, "✕"));
  }

  /** @param {Group} item */
  groupRow(item) {
    const { actions, graph } = this.session;
    const { key } = item;
    const name = make("input", {
      class: "field field--name", type: "text", spellcheck: "false", "aria-label": "Name of the group",
      "data-pin": `name ${key}`,
      onchange: () => actions.rename(key, name.value),
      onkeydown: (event) => {
        if (event.key === "Enter") name.blur();
        if (event.key !== "Escape") return;
        event.preventDefault();
        name.value = item.name;
        name.blur();
      },
    });
    name.value = item.name;
    const fold = make("button", {
      type: "button", class: "tool tool--small", "aria-pressed": String(item.folded), "data-pin": `fold ${key}`,
      title: item.folded ? "Drawn as one node" : "Drawn as its members",
      "aria-label": `Draw ${itemName(item)} as one node`,
      onclick: () => actions.fold(key, !item.folded),
    }, item.folded ? "◉" : "○");
    return make("li", { class: "pin pin--group" },
      fold,
      name,
      make("span", { class: "row__flow" }, showSigned(item.attribution)),
      make("button", {
        type: "button", class: "tool tool--small", title: "Ungroup", "aria-label": `Ungroup ${itemName(item)}`,
        "data-pin": `ungroup ${key}`,
        onclick: () => actions.ungroup(key),
      }, "✕"),
      make("div", { class: "members" },
        this.goButton(item, [showCount(item.members.length, "node")]),
        make("ul", { "aria-label": `Members of ${itemName(item)}` }, item.members.map((member) =>
          make("li", {}, this.goButton(member, [
            make("span", { class: "row__component" }, itemName(member)), tokenChip(member.pos, graph)]))))));
  }

  /** @param {Item} item @param {Element[] | string[]} content */
  goButton(item, content) {
    const { session } = this;
    return make("button", {
      type: "button", class: "pin__go", "aria-label": `Show ${itemLabel(item, session.graph)}`,
      "data-node": isGroup(item) ? null : item.index,
      "data-pin": `go ${item.index}`,
      onclick: () => session.goTo(item),
      onpointerenter: () => session.hover(session.drawnFor(item)),
      onpointerleave: () => session.hover(null),
    }, content);
  }

  /** @param {string[]} pins */
  buttons(pins) {
    return make("div", { class: "buttons" },
      make("button", {
        type: "button", class: "button", "data-pin": "group", title: "All pins, or the ticked ones (G)",
        onclick: () => this.group(),
      }, "Group"),
      pins.length > 1 && make("button", {
        type: "button", class: "button", "data-pin": "unpin all", onclick: () => this.session.actions.unpinAll(),
      }, "Unpin all"));
  }

  /** Groups the ticked pins, or all, and lets the reader name the group. */
  group() {
    const { actions } = this.session;
    const { pins } = actions.state;
    const key = actions.group(this.ticked.size ? pins.filter((id) => this.ticked.has(id)) : pins);
    if (key === null) return;
    this.ticked.clear();
    const field = this.part(`name ${key}`);
    if (!(field instanceof HTMLInputElement)) return;
    field.focus();
    field.select();
  }
}

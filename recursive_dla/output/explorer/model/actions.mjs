// What a reader can do to the view, however it is asked for.

import { isGroup, itemName } from "./groups.mjs";
import { showCount, showProse } from "./text.mjs";

/** @import { StateHistory } from "./history.mjs" */
/** @import { GraphNode, GroupState, Item, State } from "./types.d.mts" */

export class Actions {
  /** @param {StateHistory} history @param {(message: string) => void} say Tells the reader what was done. */
  constructor(history, say) {
    this.history = history;
    this.say = say;
  }

  get state() {
    return this.history.state;
  }

  /** Selects an item, or nothing; its tree starts folded. @param {Item | null} item */
  select(item) {
    /** @type {State["selected"]} */
    const selected = !item ? null : isGroup(item) ? { group: item.key } : { node: item.id };
    if (JSON.stringify(selected) === JSON.stringify(this.state.selected)) return;
    this.history.change({ selected, open: [] });
  }

  /** Unfolds or folds a tree path; folding takes all below it along. @param {string} path */
  toggleOpen(path) {
    const { open } = this.state;
    const below = (/** @type {string} */ other) => other === path || other.startsWith(`${path}/`);
    this.history.change({
      open: open.includes(path) ? open.filter((other) => !below(other)) : [...open, path],
    });
  }

  /** @param {GraphNode} node */
  isPinned(node) {
    return this.state.pins.includes(node.id) || this.groupOf(node) !== undefined;
  }

  /** @param {GraphNode} node */
  groupOf(node) {
    return this.state.groups.find((group) => group.members.includes(node.id));
  }

  /** Pins or unpins; a grouped node is unpinned by leaving its group. @param {Item} item */
  togglePin(item) {
    if (isGroup(item)) {
      this.say("A group is made of pins. Ungroup it to unpin its nodes.");
      return;
    }
    const { pins, groups } = this.state;
    const group = this.groupOf(item);
    if (group) {
      this.setGroups(groups.map((other) =>
        other === group
          ? { ...group, members: group.members.filter((id) => id !== item.id) }
          : other,
      ));
    } else if (pins.includes(item.id)) {
      this.history.change({ pins: pins.filter((id) => id !== item.id) });
    } else {
      this.history.change({ pins: [...pins, item.id] });
    }
    this.say(`${itemName(item)} ${this.isPinned(item) ? "pinned" : "unpinned"}`);
  }

  unpinAll() {
    this.history.change({ pins: [] });
  }

  /** Makes a folded group of these pins; its key, or null if there are too few. @param {string[]} ids */
  group(ids) {
    if (ids.length < 2) {
      this.say("Pin at least two nodes to group them.");
      return null;
    }
    const { pins, groups } = this.state;
    const key = 1 + groups.reduce((most, group) => Math.max(most, group.key), 0);
    const name = `Group ${key}`;
    this.history.change({
      pins: pins.filter((id) => !ids.includes(id)),
      groups: [...groups, { key, name, members: ids, folded: true }],
      ...this.selectionWithout(ids),
    });
    this.say(`${name} made of ${showCount(ids.length, "node")}`);
    return key;
  }

  /** A node drawn only as part of a folded group is better not selected. @param {string[]} ids */
  selectionWithout(ids) {
    const node = this.state.selected?.node;
    return node !== undefined && ids.includes(node) ? { selected: null, open: [] } : {};
  }

  /** @param {number} key */
  ungroup(key) {
    const group = this.state.groups.find((other) => other.key === key);
    if (!group) return;
    this.setGroups(
      this.state.groups.filter((other) => other !== group),
      [...this.state.pins, ...group.members],
    );
    this.say(`${showProse(group.name)} ungrouped`);
  }

  /** @param {number} key @param {string} name */
  rename(key, name) {
    const trimmed = name.trim();
    if (trimmed) this.changeGroup(key, { name: trimmed });
  }

  /** @param {number} key @param {boolean} folded */
  fold(key, folded) {
    this.changeGroup(key, { folded });
  }

  /** @param {number} key @param {Partial<GroupState>} part */
  changeGroup(key, part) {
    this.setGroups(this.state.groups.map((group) => (group.key === key ? { ...group, ...part } : group)));
  }

  /** @param {GroupState[]} groups @param {string[]} pins */
  setGroups(groups, pins = this.state.pins) {
    const left = groups.filter((group) => group.members.length);
    const { selected } = this.state;
    const lost = selected?.group !== undefined && !left.some((group) => group.key === selected.group);
    this.history.change({ groups: left, pins, ...(lost ? { selected: null, open: [] } : {}) });
  }

  /** Hides a kind, or shows it again. @param {string} kind */
  toggleKind(kind) {
    this.history.change({ hidden: toggled(this.state.hidden, kind) });
  }

  /** Takes a head into those that alone are shown, or out again. @param {number} head */
  toggleHead(head) {
    this.history.change({ heads: toggled(this.state.heads, head) });
  }

  /** Takes a token into those that alone are shown, or out again. @param {number} pos */
  toggleToken(pos) {
    this.history.change({ tokens: toggled(this.state.tokens, pos) });
  }

  resetFilters() {
    this.history.change({ hidden: [], layers: null, heads: [], tokens: [] });
  }
}

/** A sorted list with `value` in it, or without it if it was. @template T @param {T[]} values @param {T} value */
function toggled(values, value) {
  return values.includes(value)
    ? values.filter((other) => other !== value)
    : [...values, value].sort((a, b) => (a < b ? -1 : 1));
}

// What a reader can do to the view, however it is asked for.

class Actions {
  constructor(graph, store) {
    this.graph = graph;
    this.store = store;
  }

  get state() {
    return this.store.state;
  }

  /** Selects an item, or nothing; its tree starts folded. */
  select(item) {
    const selected = !item ? null : isPinnedGroup(item) ? { group: item.key } : { node: item.id };
    if (JSON.stringify(selected) === JSON.stringify(this.state.selected)) return;
    this.store.change({ selected, open: [] });
  }

  /** Unfolds or folds a tree path; folding takes all below it along. */
  toggleOpen(path) {
    const { open } = this.state;
    const below = (other) => other === path || other.startsWith(`${path}/`);
    this.store.change({
      open: open.includes(path) ? open.filter((other) => !below(other)) : [...open, path],
    });
  }

  isPinned(node) {
    return this.state.pins.includes(node.id) || this.groupOf(node) !== undefined;
  }

  groupOf(node) {
    return this.state.groups.find((group) => group.members.includes(node.id));
  }

  /** Pins or unpins; a grouped node is unpinned by leaving its group. */
  togglePin(item) {
    if (isPinnedGroup(item)) {
      announce("A group is made of pins. Ungroup it to unpin its nodes.");
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
      this.store.change({ pins: pins.filter((id) => id !== item.id) });
    } else {
      this.store.change({ pins: [...pins, item.id] });
    }
    announce(`${itemName(item)} ${this.isPinned(item) ? "pinned" : "unpinned"}`);
  }

  unpinAll() {
    this.store.change({ pins: [] });
  }

  /** Makes a folded group of these pins; its key, or null if there are too few. */
  group(ids) {
    if (ids.length < 2) {
      announce("Pin at least two nodes to group them.");
      return null;
    }
    const { pins, groups } = this.state;
    const key = 1 + groups.reduce((most, group) => Math.max(most, group.key), 0);
    const name = `Group ${key}`;
    this.store.change({
      pins: pins.filter((id) => !ids.includes(id)),
      groups: [...groups, { key, name, members: ids, folded: true }],
      ...this.selectionWithout(ids),
    });
    announce(`${name} made of ${showCount(ids.length, "node")}`);
    return key;
  }

  /** A node drawn only as part of a folded group is better not selected. */
  selectionWithout(ids) {
    return ids.includes(this.state.selected?.node) ? { selected: null, open: [] } : {};
  }

  ungroup(key) {
    const group = this.state.groups.find((other) => other.key === key);
    this.setGroups(
      this.state.groups.filter((other) => other !== group),
      [...this.state.pins, ...group.members],
    );
    announce(`${showProse(group.name)} ungrouped`);
  }

  rename(key, name) {
    const trimmed = name.trim();
    if (trimmed) this.changeGroup(key, { name: trimmed });
  }

  fold(key, folded) {
    this.changeGroup(key, { folded });
  }

  changeGroup(key, part) {
    this.setGroups(this.state.groups.map((group) => (group.key === key ? { ...group, ...part } : group)));
  }

  setGroups(groups, pins = this.state.pins) {
    const left = groups.filter((group) => group.members.length);
    const { selected } = this.state;
    const lost = selected?.group !== undefined && !left.some((group) => group.key === selected.group);
    this.store.change({ groups: left, pins, ...(lost ? { selected: null, open: [] } : {}) });
  }

  /** Adds `value` to a list of the state, or takes it out. */
  toggle(list, value) {
    const values = this.state[list];
    this.store.change({
      [list]: values.includes(value)
        ? values.filter((other) => other !== value)
        : [...values, value].sort((a, b) => (a < b ? -1 : 1)),
    });
  }

  resetFilters() {
    this.store.change({ hidden: [], layers: null, heads: [], tokens: [] });
  }
}

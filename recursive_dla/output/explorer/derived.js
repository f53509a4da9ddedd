// What follows from the state; each part is computed anew only if its causes changed.

class Derived {
  constructor(graph) {
    const index = new Index(graph);
    this.graph = graph;
    this.groups = remember((groups) => new Groups(graph, groups));
    this.settings = remember((share, rooted, hidden, layers, heads, tokens) =>
      ({ share, rooted, hidden, layers, heads, tokens }));
    this.plain = remember((settings) => new Kept(graph, settings, []));
    this.withPicked = remember((settings, picked) => new Kept(graph, settings, JSON.parse(picked)));
    this.folded = remember((kept, groups) => new Shown(kept, groups));
    this.wide = remember(() => new Layout(graph, graph.nodes, false));
    this.compact = remember((nodes) => new Layout(graph, nodes, true));
    this.positions = remember((layout, groups) => layout.withGroups(groups));
    this.found = remember((query) => index.find(query));
    this.focus = remember((selected, open, groups, shown) => {
      if (!selected) return null;
      const unfolded = unfoldedNodes(selected, open).map((node) => groups.standIn(node));
      return focusOn(new Set(centresOf(selected, groups)), unfolded, shown);
    });
  }

  /** The state with everything that follows from it. */
  of(state) {
    const { graph } = this;
    const groups = this.groups(state.groups);
    const shown = this.shown(state, groups);
    const layout = state.compact ? this.compact(shown.nodes) : this.wide();
    const { node, group } = state.selected ?? {};
    const selected = graph.byId.get(node) ?? groups.byKey.get(group) ?? null;
    return {
      state, graph, groups, shown, layout, selected,
      at: this.positions(layout, groups),
      found: this.found(state.query),
      focus: this.focus(selected, state.open, groups, shown),
    };
  }

  shown(state, groups) {
    const { share, rooted, hidden, layers, heads, tokens, pins, selected } = state;
    const settings = this.settings(share, rooted, hidden, layers, heads, tokens);
    const base = this.plain(settings);
    // Most picks are of what is shown already and change nothing.
    const members = state.groups.flatMap((group) => group.members);
    const picked = [...pins, ...members, ...(selected?.node !== undefined ? [selected.node] : [])]
      .filter((id) => !base.mask[this.graph.byId.get(id).index]);
    return this.folded(picked.length ? this.withPicked(settings, JSON.stringify(picked)) : base, groups);
  }
}

/** What is drawn for the selected item: all members of a group drawn as such. */
function centresOf(selected, groups) {
  const unfolded = isPinnedGroup(selected) && !selected.folded;
  return unfolded ? selected.members : [drawnFor(selected, groups)];
}

/** What is drawn for an item: itself, the folded group it is in, or a member of the unfolded group it is. */
function drawnFor(item, groups) {
  if (!isPinnedGroup(item)) return groups.standIn(item);
  return item.folded ? item : item.members[0];
}

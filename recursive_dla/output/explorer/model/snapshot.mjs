// What follows from the state; each part is computed anew only if its causes changed.

import { focusOn } from "./focus.mjs";
import { Groups } from "./groups.mjs";
import { Layout } from "./layout.mjs";
import { SearchIndex } from "./search_index.mjs";
import { Kept, Shown } from "./shown.mjs";
import { remember } from "./tools.mjs";

/** @import { Graph } from "./graph.mjs" */
/** @import { GraphNode, GroupState, Item, Settings, State } from "./types.d.mts" */

/** A state with everything that follows from it. @typedef {ReturnType<Snapshots["of"]>} Snapshot */

export class Snapshots {
  /** @param {Graph} graph */
  constructor(graph) {
    const index = new SearchIndex(graph);
    this.graph = graph;
    this.groups = remember((/** @type {GroupState[]} */ groups) => new Groups(graph, groups));
    this.settings = remember(settingsOf);
    this.plain = remember((/** @type {Settings} */ settings) => new Kept(graph, settings, []));
    this.withPicked = remember((/** @type {Settings} */ settings, /** @type {string} */ picked) =>
      new Kept(graph, settings, JSON.parse(picked)));
    this.folded = remember((/** @type {Kept} */ kept, /** @type {Groups} */ groups) => new Shown(kept, groups));
    this.wide = remember(() => new Layout(graph, graph.nodes, false));
    this.compact = remember((/** @type {GraphNode[]} */ nodes) => new Layout(graph, nodes, true));
    this.positions = remember((/** @type {Layout} */ layout, /** @type {Groups} */ groups) => layout.withGroups(groups));
    this.found = remember((/** @type {string} */ query) => index.find(query));
    this.focus = remember(focusOn);
  }

  /** @param {State} state */
  of(state) {
    const { graph } = this;
    const groups = this.groups(state.groups);
    const shown = this.shown(state, groups);
    const layout = state.compact ? this.compact(shown.nodes) : this.wide();
    const selected = this.selected(state, groups);
    return {
      state, graph, groups, shown, layout, selected,
      at: this.positions(layout, groups),
      found: this.found(state.query),
      focus: selected && this.focus(selected, state.open, groups, shown),
    };
  }

  /** @param {State} state @param {Groups} groups @returns {Item | null} */
  selected({ selected }, groups) {
    if (!selected) return null;
    const item = selected.node === undefined ? groups.byKey.get(selected.group) : this.graph.byId.get(selected.node);
    return item ?? null;
  }

  /** @param {State} state @param {Groups} groups */
  shown(state, groups) {
    const { share, rooted, hidden, layers, heads, tokens, pins, selected } = state;
    const settings = this.settings(share, rooted, hidden, layers, heads, tokens);
    const base = this.plain(settings);
    // Most picks are of what is shown already and change nothing.
    const members = state.groups.flatMap((group) => group.members);
    const picked = [...pins, ...members, ...(selected?.node !== undefined ? [selected.node] : [])]
      .filter((id) => !base.mask[this.graph.node(id).index]);
    return this.folded(picked.length ? this.withPicked(settings, JSON.stringify(picked)) : base, groups);
  }
}

/**
 * @param {State["share"]} share
 * @param {State["rooted"]} rooted
 * @param {State["hidden"]} hidden
 * @param {State["layers"]} layers
 * @param {State["heads"]} heads
 * @param {State["tokens"]} tokens
 * @returns {Settings}
 */
function settingsOf(share, rooted, hidden, layers, heads, tokens) {
  return { share, rooted, hidden, layers, heads, tokens };
}

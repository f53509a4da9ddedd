// Graphs small enough to know every number of them by heart.

import { Graph } from "./model.mjs";

/** A node's place is in its id, such as "L0H2@1": layer, head and position. */
export function node(id, attribution, values = {}) {
  const [component, pos] = id.split("@");
  const [, layer, head] = /^L(\d+)(?:H(\d+))?/.exec(component) ?? [];
  const kind = component.includes("MLP") ? "mlp" : head !== undefined ? "head" : component;
  return {
    id, kind, component, layer: layer === undefined ? -1 : Number(layer), head: head === undefined ? null : Number(head),
    pos: Number(pos), attribution, rest_in: 0, rest_out: 0, ...values,
  };
}

export function edge(source, target, weight) {
  return { source, target, weight };
}

export function graphDocument(nodes, edges, tokens, metadata = {}) {
  return {
    format: "recursive_dla.attribution_graph",
    version: 1,
    metadata: { tokens: tokens.map((text, pos) => ({ pos, text })), ...metadata },
    nodes,
    edges,
  };
}

/**
 * Ten logits over four tokens. `L0MLP@3` has two readers, so that paths through
 * it carry a part of it only; the inputs of `L0H2@2` cancel.
 */
export function tinyDocument(metadata = {}) {
  return graphDocument([
    node("embed@0", 5), node("embed@1", -3.99), node("embed@2", 5.49), node("embed@3", 2.25),
    node("L0MLP@0", 5), node("L0H1@1", -1), node("L0H2@2", 0.01), node("L0MLP@3", -1, { rest_in: -0.25 }),
    node("L1H0@3", 7, { rest_in: 0.5 }), node("L1MLP@3", 4),
    node("logit@3", 10, { layer: 2, rest_in: 1 }),
  ], [
    edge("embed@0", "L0MLP@0", 5), edge("embed@1", "L0H1@1", -1), edge("embed@2", "L0H2@2", 3),
    edge("embed@1", "L0H2@2", -2.99), edge("embed@3", "L0MLP@3", -0.75), edge("L0MLP@0", "L1H0@3", 5),
    edge("L0H1@1", "L1H0@3", -1), edge("L0H2@2", "L1H0@3", 0.01), edge("embed@2", "L1H0@3", 2.49),
    edge("embed@3", "L1MLP@3", 3), edge("L0MLP@3", "L1MLP@3", 1), edge("L1H0@3", "logit@3", 7),
    edge("L1MLP@3", "logit@3", 4), edge("L0MLP@3", "logit@3", -2),
  ], [" a", " b", " a", " c"], { value: 10, target: { pos: 3 }, ...metadata });
}

export function tiny() {
  return new Graph(tinyDocument());
}

/** Items by their ids, groups by their names. */
export function names(items) {
  return items.map((item) => item.id ?? item.name);
}

/** Edges as "source > target", with their weights. */
export function flows(edges) {
  return Object.fromEntries(edges.map(({ source, target, weight }) => [names([source, target]).join(" > "), weight]));
}

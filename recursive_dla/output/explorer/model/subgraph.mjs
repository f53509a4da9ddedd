// A part of the graph as a document of its own.

/** @import { Graph } from "./graph.mjs" */
/** @import { GraphDocument, GraphEdge, GroupState } from "./types.d.mts" */

/**
 * The pinned nodes, grouped ones among them, and the edges between them as a
 * document. What flowed along the other edges moves to the nodes' rests, so
 * that every node still adds up.
 *
 * @param {Graph} graph
 * @param {string[]} pins
 * @param {GroupState[]} groups
 * @returns {GraphDocument}
 */
export function pinnedSubgraph(graph, pins, groups) {
  const wanted = new Set([...pins, ...groups.flatMap((group) => group.members)]);
  const inside = (/** @type {GraphEdge} */ edge) => wanted.has(edge.source.id) && wanted.has(edge.target.id);
  const cut = (/** @type {GraphEdge[]} */ edges) =>
    edges.reduce((sum, edge) => (inside(edge) ? sum : sum + edge.weight), 0);
  return {
    ...graph.source,
    metadata: {
      ...graph.metadata,
      pruning: {
        subgraph: "pinned nodes",
        groups: groups.map(({ name, members }) => ({ name, members })),
        before: graph.metadata.pruning ?? null,
      },
    },
    nodes: graph.source.nodes
      .filter((node) => wanted.has(node.id))
      .map((node) => ({
        ...node,
        rest_in: node.rest_in + cut(graph.node(node.id).inputs),
        rest_out: node.rest_out + cut(graph.node(node.id).outputs),
      })),
    edges: graph.source.edges.filter((edge) => wanted.has(edge.source) && wanted.has(edge.target)),
  };
}

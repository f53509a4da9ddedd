// Finding nodes by component, token or id.

import { kindName } from "./graph.mjs";

/** @import { Graph } from "./graph.mjs" */

/** The nodes that every word of the query matches, strongest first. */
export class SearchIndex {
  /** @param {Graph} graph */
  constructor(graph) {
    this.entries = graph.byStrength.map((node) => ({
      node,
      text: [
        node.id, node.component, kindName(node.kind), graph.tokens[node.pos] ?? "", graph.token(node.pos),
      ].join("\n").toLowerCase(),
    }));
  }

  /** @param {string} query */
  find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return this.entries
      .filter(({ text }) => words.every((word) => text.includes(word)))
      .map(({ node }) => node);
  }
}

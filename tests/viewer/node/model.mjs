// What is tested: the modules of the explorer that touch no page.

export * from "../../../recursive_dla/output/explorer/model/actions.mjs";
export * from "../../../recursive_dla/output/explorer/model/camera.mjs";
export * from "../../../recursive_dla/output/explorer/model/curves.mjs";
export * from "../../../recursive_dla/output/explorer/model/focus.mjs";
export * from "../../../recursive_dla/output/explorer/model/fragment.mjs";
export * from "../../../recursive_dla/output/explorer/model/graph.mjs";
export * from "../../../recursive_dla/output/explorer/model/groups.mjs";
export * from "../../../recursive_dla/output/explorer/model/history.mjs";
export * from "../../../recursive_dla/output/explorer/model/input_tree.mjs";
export * from "../../../recursive_dla/output/explorer/model/layout.mjs";
export * from "../../../recursive_dla/output/explorer/model/marks.mjs";
export * from "../../../recursive_dla/output/explorer/model/rings.mjs";
export * from "../../../recursive_dla/output/explorer/model/search_index.mjs";
export * from "../../../recursive_dla/output/explorer/model/session.mjs";
export * from "../../../recursive_dla/output/explorer/model/shown.mjs";
export * from "../../../recursive_dla/output/explorer/model/snapshot.mjs";
export * from "../../../recursive_dla/output/explorer/model/state.mjs";
export * from "../../../recursive_dla/output/explorer/model/subgraph.mjs";
export * from "../../../recursive_dla/output/explorer/model/text.mjs";
export * from "../../../recursive_dla/output/explorer/model/tools.mjs";
export * from "../../../recursive_dla/output/explorer/model/walk.mjs";

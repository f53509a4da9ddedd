// What is tested: the modules of the explorer that touch no page.

export * from "../../../recursive_dla/viewer/model/actions.mjs";
export * from "../../../recursive_dla/viewer/model/camera.mjs";
export * from "../../../recursive_dla/viewer/model/curves.mjs";
export * from "../../../recursive_dla/viewer/model/focus.mjs";
export * from "../../../recursive_dla/viewer/model/fragment.mjs";
export * from "../../../recursive_dla/viewer/model/graph.mjs";
export * from "../../../recursive_dla/viewer/model/groups.mjs";
export * from "../../../recursive_dla/viewer/model/history.mjs";
export * from "../../../recursive_dla/viewer/model/input_tree.mjs";
export * from "../../../recursive_dla/viewer/model/layout.mjs";
export * from "../../../recursive_dla/viewer/model/marks.mjs";
export * from "../../../recursive_dla/viewer/model/rings.mjs";
export * from "../../../recursive_dla/viewer/model/search_index.mjs";
export * from "../../../recursive_dla/viewer/model/session.mjs";
export * from "../../../recursive_dla/viewer/model/shown.mjs";
export * from "../../../recursive_dla/viewer/model/snapshot.mjs";
export * from "../../../recursive_dla/viewer/model/state.mjs";
export * from "../../../recursive_dla/viewer/model/subgraph.mjs";
export * from "../../../recursive_dla/viewer/model/text.mjs";
export * from "../../../recursive_dla/viewer/model/tools.mjs";
export * from "../../../recursive_dla/viewer/model/walk.mjs";

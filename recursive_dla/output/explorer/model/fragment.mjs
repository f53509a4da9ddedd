// The view as the fragment of the page's address, and back.
//
// Only what differs from the opening view is written. Parts that a reader's
// hand (or another version of the graph) has spoiled are left out on reading.

import { clamp, unique } from "./tools.mjs";

/** @import { Graph } from "./graph.mjs" */
/** @import { CameraView, GroupState, State, Theme } from "./types.d.mts" */

/** An id fit for a fragment and its separators `& = , ; : /`. @param {string} id */
function escapeId(id) {
  return encodeURIComponent(id.toWellFormed()).replace(/%40/g, "@");
}

/** A tree path as text: the ids from the selected item's input downwards. @param {string[]} ids */
export function pathKey(ids) {
  return ids.map(escapeId).join("/");
}

/** The ids along a tree path; null where one is spoiled. @param {string} path */
export function pathIds(path) {
  return path.split("/").map(decode);
}

/**
 * @param {State} state
 * @param {State} opening
 * @param {CameraView | null} view
 * @param {Theme} theme
 */
export function writeFragment(state, opening, view, theme) {
  /** @type {string[]} */
  const parts = [];
  const write = (/** @type {string} */ key, /** @type {string | number} */ value) => parts.push(`${key}=${value}`);
  const list = (/** @type {string[]} */ ids) => ids.map(escapeId).join(",");

  if (state.selected?.node) write("sel", escapeId(state.selected.node));
  if (state.selected?.group !== undefined) write("selgroup", state.selected.group);
  if (state.open.length) write("open", state.open.join(","));
  if (state.share !== opening.share) write("share", state.share);
  if (!state.rooted) write("rooted", 0);
  if (state.hidden.length) write("hide", list(state.hidden));
  if (state.layers) write("layers", state.layers.join(","));
  if (state.heads.length) write("heads", state.heads.join(","));
  if (state.tokens.length) write("tokens", state.tokens.join(","));
  if (state.query) write("q", escapeId(state.query));
  if (state.pins.length) write("pins", list(state.pins));
  if (state.groups.length) {
    const groups = state.groups.map(({ key, name, members, folded }) =>
      [key, escapeId(name), folded ? 1 : 0, list(members)].join(":"));
    write("groups", groups.join(";"));
  }
  if (state.compact) write("compact", 1);
  if (view) write("view", [view.x, view.y, view.zoom].map((part) => +part.toFixed(4)).join(","));
  if (theme) write("theme", theme);
  return parts.join("&");
}

/**
 * `view` and `theme` are null where not given.
 *
 * @param {string} fragment
 * @param {State} opening
 * @param {Graph} graph
 * @returns {{ state: State, view: CameraView | null, theme: Theme }}
 */
export function readFragment(fragment, opening, graph) {
  /** @type {Map<string, string>} */
  const given = new Map();
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at > 0) given.set(part.slice(0, at), part.slice(at + 1));
  }
  const text = (/** @type {string} */ key) => decode(given.get(key) ?? "") ?? "";
  const texts = (/** @type {string} */ key) => split(given.get(key), ",").map(decode).filter((value) => value !== null);
  const numbers = (/** @type {string} */ key) => split(given.get(key), ",").map(Number).filter(Number.isFinite);

  const state = { ...opening };
  const groups = readGroups(given.get("groups"), graph);
  const grouped = new Set(groups.flatMap((group) => group.members));
  state.groups = groups;
  state.pins = unique(texts("pins")).filter((id) => graph.byId.has(id) && !grouped.has(id));

  const [key] = numbers("selgroup");
  if (groups.some((group) => group.key === key)) state.selected = { group: key };
  else if (graph.byId.has(text("sel"))) state.selected = { node: text("sel") };
  if (state.selected) {
    const known = (/** @type {string | null} */ id) => id !== null && graph.byId.has(id);
    state.open = unique(split(given.get("open"), ",")).filter((path) => pathIds(path).every(known));
  }

  const [share] = numbers("share");
  if (share !== undefined) state.share = clamp(share, 0, 1);
  if (given.get("rooted") === "0") state.rooted = false;
  state.hidden = unique(texts("hide")).filter((kind) => graph.kinds.has(kind));
  const layers = numbers("layers").map((layer) => clamp(Math.round(layer), graph.lowest, graph.highest));
  if (layers.length === 2) state.layers = [layers[0], layers[1]];
  state.heads = unique(numbers("heads"));
  state.tokens = unique(numbers("tokens")).filter((pos) => pos in graph.tokens);
  state.query = text("q");
  state.compact = given.get("compact") === "1";

  const place = numbers("view");
  const theme = given.get("theme");
  return {
    state,
    view: place.length === 3 ? { x: place[0], y: place[1], zoom: place[2] } : null,
    theme: theme === "light" || theme === "dark" ? theme : null,
  };
}

/** @param {string | undefined} written @param {Graph} graph */
function readGroups(written, graph) {
  /** @type {Set<string>} */
  const taken = new Set();
  /** @type {GroupState[]} */
  const groups = [];
  for (const part of split(written, ";")) {
    const [key, name, folded, members] = part.split(":");
    const ids = unique(split(members, ",").map(decode).filter((id) => id !== null))
      .filter((id) => graph.byId.has(id) && !taken.has(id));
    const number = Number(key);
    const usable = Number.isInteger(number) && !groups.some((group) => group.key === number);
    if (!ids.length || !usable) continue;
    for (const id of ids) taken.add(id);
    groups.push({ key: number, name: decode(name ?? "") || `Group ${number}`, members: ids, folded: folded === "1" });
  }
  return groups;
}

/** @param {string | undefined} text @param {string} separator */
function split(text, separator) {
  return text ? text.split(separator) : [];
}

/** What was escaped; null where it is spoiled. @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

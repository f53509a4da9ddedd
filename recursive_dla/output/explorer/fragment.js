// The view as the fragment of the page's address, and back.
//
// Only what differs from the opening view is written. Parts that a reader's
// hand (or another version of the graph) has spoiled are left out on reading.

/** An id fit for a fragment and its separators `& = , ; : /`. */
function escapeId(id) {
  return encodeURIComponent(id.toWellFormed()).replace(/%40/g, "@");
}

/** A tree path as text: the ids from the selected item's input downwards. */
function pathKey(ids) {
  return ids.map(escapeId).join("/");
}

function writeFragment(state, opening, view, theme) {
  const parts = [];
  const write = (key, value) => parts.push(`${key}=${value}`);
  const list = (items, encode) => items.map(encode).join(",");

  if (state.selected?.node) write("sel", escapeId(state.selected.node));
  if (state.selected?.group !== undefined) write("selgroup", state.selected.group);
  if (state.open.length) write("open", state.open.join(","));
  if (state.share !== opening.share) write("share", state.share);
  if (!state.rooted) write("rooted", 0);
  if (state.hidden.length) write("hide", list(state.hidden, escapeId));
  if (state.layers) write("layers", state.layers.join(","));
  if (state.heads.length) write("heads", state.heads.join(","));
  if (state.tokens.length) write("tokens", state.tokens.join(","));
  if (state.query) write("q", escapeId(state.query));
  if (state.pins.length) write("pins", list(state.pins, escapeId));
  if (state.groups.length) {
    const group = ({ key, name, members, folded }) =>
      [key, escapeId(name), folded ? 1 : 0, list(members, escapeId)].join(":");
    write("groups", state.groups.map(group).join(";"));
  }
  if (state.compact) write("compact", 1);
  if (view) write("view", [view.x, view.y, view.zoom].map((part) => +part.toFixed(4)).join(","));
  if (theme) write("theme", theme);
  return parts.join("&");
}

/** {state, view, theme}; `view` and `theme` are null where not given. */
function readFragment(fragment, opening, graph) {
  const given = new Map();
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at > 0) given.set(part.slice(0, at), part.slice(at + 1));
  }
  const text = (key) => decode(given.get(key) ?? "");
  const texts = (key) => split(given.get(key), ",").map(decode).filter((value) => value !== null);
  const numbers = (key) => split(given.get(key), ",").map(Number).filter(Number.isFinite);
  const ids = (key) => unique(texts(key)).filter((id) => graph.byId.has(id));

  const state = { ...opening };
  const groups = readGroups(given.get("groups"), graph);
  const grouped = new Set(groups.flatMap((group) => group.members));
  state.groups = groups;
  state.pins = ids("pins").filter((id) => !grouped.has(id));

  const key = given.has("selgroup") ? Number(given.get("selgroup")) : null;
  if (groups.some((group) => group.key === key)) state.selected = { group: key };
  else if (graph.byId.has(text("sel"))) state.selected = { node: text("sel") };
  if (state.selected) {
    const known = (path) => path.split("/").every((id) => graph.byId.has(decode(id)));
    state.open = unique(split(given.get("open"), ",")).filter(known);
  }

  const [share] = numbers("share");
  if (share !== undefined) state.share = clamp(share, 0, 1);
  if (given.get("rooted") === "0") state.rooted = false;
  state.hidden = unique(texts("hide")).filter((kind) => graph.kinds.has(kind));
  const layers = numbers("layers");
  if (layers.length === 2) {
    state.layers = layers.map((layer) => clamp(Math.round(layer), graph.lowest, graph.highest));
  }
  state.heads = unique(numbers("heads"));
  state.tokens = unique(numbers("tokens")).filter((pos) => pos in graph.tokens);
  state.query = text("q") ?? "";
  state.compact = given.get("compact") === "1";

  const place = numbers("view");
  const theme = given.get("theme");
  return {
    state,
    view: place.length === 3 ? { x: place[0], y: place[1], zoom: place[2] } : null,
    theme: theme === "light" || theme === "dark" ? theme : null,
  };
}

function readGroups(written, graph) {
  const taken = new Set();
  const groups = [];
  for (const part of split(written, ";")) {
    const [key, name, folded, members] = part.split(":");
    const ids = unique(split(members, ",").map(decode)).filter(
      (id) => graph.byId.has(id) && !taken.has(id),
    );
    const number = Number(key);
    const usable = Number.isInteger(number) && !groups.some((group) => group.key === number);
    if (!ids.length || !usable) continue;
    for (const id of ids) taken.add(id);
    groups.push({ key: number, name: decode(name) || `Group ${number}`, members: ids, folded: folded === "1" });
  }
  return groups;
}

function split(text, separator) {
  return text ? text.split(separator) : [];
}

function unique(values) {
  return [...new Set(values)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

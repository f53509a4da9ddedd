// One line of a list: an item and how much flows from or to it.

/** A token as a chip; its text is isolated from the direction around it. */
function tokenChip(pos, graph) {
  return make("span", { class: "chip-token" },
    make("bdi", {}, shorten(graph.token(pos), 24)),
    make("span", { class: "chip-token__pos" }, `${pos}`));
}

/** An item in words, for screen readers. */
function itemLabel(item, graph) {
  if (isPinnedGroup(item)) return `${itemName(item)}, group of ${showCount(item.members.length, "node")}`;
  return `${itemName(item)}, token ${item.pos} ${graph.token(item.pos)}`;
}

/**
 * The cells of a row. `flow` is the number shown, `whole` what shares are of,
 * `most` the flow that fills half the bar.
 */
function rowCells(item, { flow, whole, most, approximate = false, explorer }) {
  const { graph, actions } = explorer;
  const pinned = !isPinnedGroup(item) && actions.isPinned(item);
  const away = !explorer.isDrawn(item);
  return [
    markIcon(item, graph),
    make("span", { class: `row__name ${away ? "is-away" : ""}`, title: away && "Not in the drawing at present" },
      make("span", { class: "row__component" }, itemName(item)),
      isPinnedGroup(item) ? null : tokenChip(item.pos, graph),
      pinned && make("span", { class: "row__pin", title: "Pinned" }, "●")),
    ...flowCells({ flow, whole, most, approximate }),
  ];
}

function flowCells({ flow, whole, most, approximate = false }) {
  return [
    flowBar(flow, most),
    make("span", { class: "row__flow" }, `${approximate ? "≈ " : ""}${showSigned(flow)}`),
    make("span", { class: "row__share" }, showShare(flow, whole)),
  ];
}

/** A bar from the middle: to the right for gains, to the left for losses. */
function flowBar(flow, most) {
  const fill = make("span", { class: `bar__fill ${flow < 0 ? "is-negative" : "is-positive"}` });
  const length = Number.isFinite(flow) && most > 0 ? 50 * Math.min(1, Math.abs(flow) / most) : 0;
  fill.style.width = `${length}%`;
  fill.style.left = `${flow < 0 ? 50 - length : 50}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, fill);
}

function flowLabel(item, flow, whole, graph) {
  return `${itemLabel(item, graph)}, ${showSigned(flow)} logits, ${showShare(flow, whole)}`;
}

/**
 * A list of items, each a button that selects it. Arrow keys move within the
 * list; `limit` rows are shown, the rest on request.
 */
class RowList {
  constructor(explorer, name) {
    this.explorer = explorer;
    this.name = name;
    this.limits = new Map();
  }

  /** `flows` lists [item, flow] pairs; `key` says whose list this is. */
  render(key, flows, { whole, limit, label }) {
    const shown = this.limits.get(key) ?? limit;
    const most = flows.reduce((top, [, flow]) => Math.max(top, Math.abs(flow)), 0);
    const list = make("ul", { class: "rows", "aria-label": label, onkeydown: moveInList });
    for (const [item, flow] of flows.slice(0, shown)) list.append(this.row(item, flow, { whole, most }));
    const left = flows.length - shown;
    if (left > 0) {
      const sum = flows.slice(shown).reduce((total, [, flow]) => total + flow, 0);
      list.append(make("li", {}, make("button", {
        type: "button", class: "row row--more", "data-focus": `${this.name} more`,
        onclick: () => {
          this.limits.set(key, shown + 50);
          this.explorer.refresh();
          this.explorer.panel.focusOn(`${this.name} ${flows[shown][0].index}`);
        },
      }, `${left.toLocaleString("en-US")} more, in sum ${showSigned(sum)}`)));
    }
    return list;
  }

  row(item, flow, { whole, most }) {
    const { explorer } = this;
    return make("li", {}, make("button", {
      type: "button",
      class: "row",
      "aria-label": flowLabel(item, flow, whole, explorer.graph),
      "data-node": item.index,
      "data-focus": `${this.name} ${item.index}`,
      onclick: () => explorer.goTo(item),
      onpointerenter: () => explorer.stage.hover(explorer.drawnFor(item)),
      onpointerleave: () => explorer.stage.hover(null),
    }, rowCells(item, { flow, whole, most, explorer })));
  }
}

function moveInList(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll("button.row")];
  buttons[buttons.indexOf(event.target) + step]?.focus();
}

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
    this.element = make("ul", {
      class: "rows",
      onkeydown: moveInList,
      onclick: (event) => this.click(event),
      onpointerover: (event) => this.hover(event),
      onpointerleave: () => explorer.stage.hover(null),
    });
  }

  /** `flows` lists [item, flow] pairs; `key` says whose list this is. */
  render(key, flows, { whole, limit, label }) {
    const shown = this.limits.get(key) ?? limit;
    const most = flows.reduce((top, [, flow]) => Math.max(top, Math.abs(flow)), 0);
    const rows = flows.slice(0, shown).map(([item, flow]) => this.row(item, flow, { whole, most }));
    if (flows.length > shown) rows.push(this.moreRow(flows.slice(shown)));
    this.more = { key, shown, first: flows[shown]?.[0] };
    this.element.setAttribute("aria-label", label);
    refill(this.element, rows);
    return this.element;
  }

  moreRow(left) {
    const sum = left.reduce((total, [, flow]) => total + flow, 0);
    return make("li", {}, make("button", {
      type: "button", class: "row row--more", "data-focus": `${this.name} more`,
    }, `${left.length.toLocaleString("en-US")} more, in sum ${showSigned(sum)}`));
  }

  row(item, flow, { whole, most }) {
    const { explorer } = this;
    return make("li", {}, make("button", {
      type: "button",
      class: "row",
      "aria-label": flowLabel(item, flow, whole, explorer.graph),
      "data-node": item.index,
      "data-focus": `${this.name} ${item.index}`,
    }, rowCells(item, { flow, whole, most, explorer })));
  }

  itemOf(event) {
    const row = event.target.closest("[data-node]");
    return row && this.explorer.itemAt(Number(row.dataset.node));
  }

  hover(event) {
    const item = this.itemOf(event);
    this.explorer.stage.hover(item ? this.explorer.drawnFor(item) : null);
  }

  click(event) {
    const item = this.itemOf(event);
    if (item) this.explorer.goTo(item);
    else if (event.target.closest(".row--more")) this.showMore(this.more);
  }

  showMore({ key, shown, first }) {
    this.limits.set(key, shown + 50);
    this.explorer.refresh();
    this.explorer.panel.focusOn(`${this.name} ${first.index}`);
  }
}

function moveInList(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll("button.row")];
  buttons[buttons.indexOf(event.target) + step]?.focus();
}

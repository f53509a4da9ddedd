// The keyboard: walking the graph, and shortcuts for the whole page.

// Sideways distance counts this much more than distance ahead.
const ASIDE = 2;

const DIRECTIONS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

class Keyboard {
  constructor(explorer) {
    this.explorer = explorer;
    const { walker } = explorer.stage;
    walker.addEventListener("keydown", (event) => this.walk(event));
    walker.addEventListener("focus", () => this.describe());
    walker.addEventListener("blur", () => explorer.stage.request("overlay"));
    document.addEventListener("keydown", (event) => this.shortcut(event));
  }

  get cursor() {
    const { shown, selected } = this.explorer.view();
    const { cursor } = this.explorer.stage;
    if (cursor && shown.items.includes(cursor)) return cursor;
    if (selected && shown.items.includes(selected)) return selected;
    return shown.items[0] ?? null;
  }

  walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const goal = this.goal(event.key);
    if (goal === undefined) return;
    event.preventDefault();
    if (goal) this.explorer.setCursor(goal);
  }

  /** Where a key leads; null for nowhere, undefined for other keys. */
  goal(key) {
    const { cursor } = this;
    const { items } = this.explorer.view().shown;
    if (!cursor) return undefined;
    if (Object.hasOwn(DIRECTIONS, key)) return this.neighbour(cursor, DIRECTIONS[key]);
    switch (key) {
      case "PageDown": return items[items.indexOf(cursor) + 1] ?? null;
      case "PageUp": return items[items.indexOf(cursor) - 1] ?? null;
      case "Home": return items.find((item) => this.explorer.graph.roots.includes(item)) ?? items[0];
      case "End": return items.at(-1);
      case "i": return this.strongest("target", "source");
      case "o": return this.strongest("source", "target");
      case "Enter":
      case " ":
        this.explorer.actions.select(cursor);
        return cursor;
      default: return undefined;
    }
  }

  neighbour(cursor, [dx, dy]) {
    const { shown, at } = this.explorer.view();
    let best = null;
    let least = Infinity;
    for (const item of shown.items) {
      const x = at.x[item.index] - at.x[cursor.index];
      const y = at.y[item.index] - at.y[cursor.index];
      const ahead = x * dx + y * dy;
      if (ahead < 1) continue;
      const cost = ahead + ASIDE * Math.abs(x * dy - y * dx);
      if (cost < least) [best, least] = [item, cost];
    }
    return best;
  }

  strongest(near, far) {
    const { cursor } = this;
    return this.explorer.view().shown.edges.find((edge) => edge[near] === cursor)?.[far] ?? null;
  }

  /** Puts the node at the cursor into words for screen readers. */
  describe() {
    const { graph, stage } = this.explorer;
    const { shown, selected } = this.explorer.view();
    const { cursor } = this;
    const option = find("walker-node");
    if (!cursor) {
      option.textContent = "No node is shown";
      return;
    }
    if (cursor !== stage.cursor) stage.setCursor(cursor);
    option.textContent = [
      itemLabel(cursor, graph),
      `${showSigned(cursor.attribution)} logits`,
      showCount(cursor.inputs.length, "input"),
      showCount(cursor.outputs.length, "output"),
    ].join(", ");
    option.setAttribute("aria-selected", String(cursor === selected));
    option.setAttribute("aria-setsize", shown.items.length);
    option.setAttribute("aria-posinset", shown.items.indexOf(cursor) + 1);
  }

  shortcut(event) {
    if (find("help").open) return;
    const { store } = this.explorer;
    const typing = event.target.matches("input:not([type=range], [type=checkbox]), textarea");
    const held = event.ctrlKey || event.metaKey;
    if (held && !event.altKey && !typing) {
      const key = event.key.toLowerCase();
      if (key === "z" && !event.shiftKey) store.undo();
      else if (key === "y" || key === "z") store.redo();
      else return;
      event.preventDefault();
      return;
    }
    if (event.key === "Escape" && !event.defaultPrevented && !typing) this.explorer.actions.select(null);
    if (typing || held || event.altKey) return;
    const action = this.shortcuts()[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  shortcuts() {
    const { explorer } = this;
    return {
      p: () => this.pin(),
      g: () => explorer.pins.group(),
      "/": () => find("search").focus(),
      "?": () => explorer.masthead.openHelp(),
      "+": () => explorer.zoom(1.4),
      "=": () => explorer.zoom(1.4),
      "-": () => explorer.zoom(1 / 1.4),
      0: () => explorer.fit(),
    };
  }

  /** Pins what the focus is on: a row, the walker's node, or the selection. */
  pin() {
    const { explorer } = this;
    const row = document.activeElement.closest("[data-node]");
    const item = row
      ? explorer.itemAt(Number(row.dataset.node))
      : document.activeElement === explorer.stage.walker ? this.cursor : explorer.view().selected;
    if (item) explorer.actions.togglePin(item);
    else announce("Select a node to pin it.");
  }
}

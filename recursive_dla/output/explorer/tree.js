// The inputs of an item, each unfolding into its own inputs.

// Below this share of the inputs it is made of, an attribution counts as
// nearly zero, and flows scaled by it as approximate.
const NEARLY_ZERO = 0.01;
const TREE_LIMIT = 12;

function cancels(item) {
  const gross = item.inputs.reduce((sum, edge) => sum + Math.abs(edge.weight), Math.abs(item.restIn));
  return Math.abs(item.attribution) < NEARLY_ZERO * gross;
}

/**
 * The rows of the tree under `root`, as a flat list. A row's flow is what
 * reaches the root along its path: each step down takes the share of the edge
 * in the attribution of the node above it.
 */
function treeRows(root, open, limits) {
  const unfolded = new Set(open);
  const rows = [];
  const visit = (item, ids, scale, approximate) => {
    const parent = pathKey(ids);
    const limit = limits.get(parent) ?? TREE_LIMIT;
    const paths = item.inputs.map((edge) => pathKey([...ids, edge.source.id]));
    // An unfolded row stays, however far down the list.
    const listed = item.inputs.filter((_, i) => i < limit || unfolded.has(paths[i]));
    const left = item.inputs.length - listed.length;
    const size = listed.length + (left > 0) + (item.restIn !== 0);
    let place = 0;
    for (const edge of listed) {
      const { source } = edge;
      const path = pathKey([...ids, source.id]);
      const flow = edge.weight * scale;
      const expandable = source.inputs.length > 0 || source.restIn !== 0;
      const expanded = expandable && unfolded.has(path);
      place += 1;
      rows.push({
        type: "input", item: source, path, flow, approximate, expandable, expanded,
        depth: ids.length + 1, place, size,
      });
      if (expanded) {
        visit(source, [...ids, source.id], flow / source.attribution, approximate || cancels(source));
      }
    }
    const depth = ids.length + 1;
    if (left > 0) {
      const hidden = item.inputs.filter((edge) => !listed.includes(edge));
      const flow = scale * hidden.reduce((sum, edge) => sum + edge.weight, 0);
      place += 1;
      rows.push({ type: "more", parent, left, limit, path: `${parent}+more`, flow, approximate, depth, place, size });
    }
    if (item.restIn !== 0) {
      place += 1;
      rows.push({ type: "rest", path: `${parent}+rest`, flow: item.restIn * scale, approximate, depth, place, size });
    }
  };
  visit(root, [], 1, false);
  return rows;
}

/** The nodes whose inputs the tree under `root` shows. */
function unfoldedNodes(root, open) {
  const unfolded = new Set(open);
  return open.flatMap((path) => {
    const steps = path.split("/");
    if (!steps.every((_, i) => unfolded.has(steps.slice(0, i + 1).join("/")))) return [];
    let item = root;
    for (const id of steps.map(decode)) {
      item = item.inputs.find((edge) => edge.source.id === id)?.source;
      if (!item) return [];
    }
    return [item];
  });
}

class Tree {
  constructor(explorer) {
    this.explorer = explorer;
    this.limits = new Map();
    this.root = null;
    this.active = null;
    this.element = make("ul", {
      class: "rows rows--tree", role: "tree", "aria-label": "Inputs",
      onkeydown: (event) => this.keydown(event),
      onclick: (event) => this.click(event),
      onfocusin: (event) => this.activate(event.target.dataset.path),
      onpointerover: (event) => this.hover(event),
      onpointerleave: () => explorer.stage.hover(null),
    });
  }

  render(root, open) {
    if (this.root !== root) {
      if (itemKey(this.root) !== itemKey(root)) {
        this.limits.clear();
        this.active = null;
      }
      this.root = root;
    }
    this.rows = treeRows(root, open, this.limits);
    if (!this.rows.some((row) => row.path === this.active)) this.active = this.rows[0]?.path ?? null;
    const most = this.rows.reduce((top, row) =>
      row.depth === 1 && Number.isFinite(row.flow) ? Math.max(top, Math.abs(row.flow)) : top, 0);
    refill(this.element, this.rows.map((row) => this.row(row, most)));
    return this.element;
  }

  row(row, most) {
    const whole = this.root.attribution;
    const element = make("li", {
      class: `row row--${row.type}`,
      role: "treeitem",
      tabindex: row.path === this.active ? 0 : -1,
      "aria-level": row.depth,
      "aria-posinset": row.place,
      "aria-setsize": row.size,
      "aria-expanded": row.expandable ? String(row.expanded) : null,
      "aria-label": this.label(row),
      "data-path": row.path,
      "data-focus": `tree ${row.path}`,
      "data-node": row.item?.index,
      title: row.approximate ? "A node above nets to nearly zero: its shares, and so this flow, mean little" : null,
    }, this.cells(row, { flow: row.flow, whole, most, approximate: row.approximate }));
    element.style.setProperty("--depth", row.depth - 1);
    return element;
  }

  cells(row, flow) {
    const twist = make("span", { class: "row__twist", "aria-hidden": "true" },
      row.expandable ? (row.expanded ? "▾" : "▸") : "");
    if (row.type === "input") {
      return [twist, ...rowCells(row.item, { ...flow, explorer: this.explorer })];
    }
    const name = row.type === "more"
      ? `${row.left.toLocaleString("en-US")} more`
      : "rest (cut)";
    return [twist, make("span", { class: "mark" }), make("span", { class: "row__name" }, name), ...flowCells(flow)];
  }

  label(row) {
    const about = row.approximate ? "about " : "";
    const flow = `${about}${showSigned(row.flow)} logits, ${showShare(row.flow, this.root.attribution)}`;
    if (row.type === "more") return `Show more, ${row.left} left, in sum ${flow}`;
    if (row.type === "rest") return `Rest, cut by pruning, ${flow}`;
    return `${itemLabel(row.item, this.explorer.graph)}, ${flow}`;
  }

  activate(path) {
    if (!path || path === this.active) return;
    const tree = this.explorer.panel.element;
    for (const element of tree.querySelectorAll("[role=treeitem]")) {
      element.tabIndex = element.dataset.path === path ? 0 : -1;
    }
    this.active = path;
  }

  rowOf(event) {
    const path = event.target.closest("[role=treeitem]")?.dataset.path;
    return this.rows.find((row) => row.path === path);
  }

  hover(event) {
    const item = this.rowOf(event)?.item;
    this.explorer.stage.hover(item ? this.explorer.drawnFor(item) : null);
  }

  click(event) {
    const row = this.rowOf(event);
    if (!row) return;
    this.activate(row.path);
    if (event.target.closest(".row__twist") && row.expandable) this.toggle(row);
    else this.enter(row);
  }

  enter(row) {
    if (row.type === "more") {
      this.limits.set(row.parent, row.limit + 50);
      // The rows that come take the place of this one.
      const next = this.rows.indexOf(row);
      this.explorer.refresh();
      this.focus(next);
    } else if (row.type === "input") {
      this.explorer.goTo(row.item);
    }
  }

  toggle(row) {
    this.explorer.actions.toggleOpen(row.path);
  }

  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rowOf(event);
    if (!row) return;
    const at = this.rows.indexOf(row);
    const moves = {
      ArrowDown: () => this.focus(at + 1),
      ArrowUp: () => this.focus(at - 1),
      Home: () => this.focus(0),
      End: () => this.focus(this.rows.length - 1),
      ArrowRight: () => {
        if (row.expandable && !row.expanded) this.toggle(row);
        else if (row.expanded) this.focus(at + 1);
      },
      ArrowLeft: () => {
        if (row.expanded) this.toggle(row);
        else this.focus(this.rows.findLastIndex((other, i) => i < at && other.depth < row.depth));
      },
      Enter: () => this.enter(row),
      " ": () => (row.expandable ? this.toggle(row) : this.enter(row)),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }

  focus(place) {
    const row = this.rows[place];
    if (row) this.explorer.panel.focusOn(`tree ${row.path}`);
  }
}

/** What stays the same when an item is built anew from the state. */
function itemKey(item) {
  return item === null ? null : isPinnedGroup(item) ? `group ${item.key}` : item.index;
}

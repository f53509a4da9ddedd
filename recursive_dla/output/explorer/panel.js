// The panel beside the graph: the selected node or group, or an overview.

const OVERVIEW_LIMIT = 30;
const OUTPUTS_LIMIT = 6;
const MEMBERS_LIMIT = 12;

class Panel {
  constructor(explorer) {
    this.explorer = explorer;
    this.element = find("panel");
    this.tree = new Tree(explorer);
    this.strongest = new RowList(explorer, "strongest");
    this.outputs = new RowList(explorer, "outputs");
    this.members = new RowList(explorer, "members");
    this.subject = undefined;
  }

  render({ state, shown, selected }) {
    const subject = itemKey(selected);
    const focus = this.focusKey();
    const scrolled = this.element.scrollTop;
    fill(this.element, selected ? this.details(selected, state) : this.overview(shown));
    // Setting it lays out the page at once, so not without need.
    if (scrolled) this.element.scrollTop = subject === this.subject ? scrolled : 0;
    if (focus !== null) this.focusOn(subject === this.subject ? focus : null);
    this.subject = subject;
  }

  /** Which part of the panel has the focus; null if it is elsewhere. */
  focusKey() {
    const active = document.activeElement;
    return this.element.contains(active) && active !== this.element ? active.dataset.focus ?? "" : null;
  }

  /** Gives the focus to a part, or to the heading if that is gone. */
  focusOn(key) {
    const parts = [...this.element.querySelectorAll("[data-focus]")];
    (parts.find((part) => part.dataset.focus === key) ?? this.element.querySelector("h2")).focus();
  }

  overview(shown) {
    const { graph } = this.explorer;
    const roots = new Set(graph.roots);
    const flows = shown.items
      .filter((item) => !roots.has(item))
      .map((item) => [item, item.attribution]);
    const whole = graph.metadata.value ?? graph.roots[0]?.attribution ?? 0;
    const start = graph.roots.map((root) => make("button", {
      type: "button", class: "button", "data-focus": `root ${root.index}`, onclick: () => this.explorer.goTo(root),
    }, `Start at ${itemName(root)}`));
    return [
      make("header", { class: "panel__head" },
        make("h2", { tabindex: -1 }, "Strongest nodes"),
        make("p", { class: "note" }, "Of what is shown, with shares of the explained value. Pick one to see what it is made of."),
        make("div", { class: "buttons" }, start)),
      this.strongest.render("all", flows, { whole, limit: OVERVIEW_LIMIT, label: "Strongest nodes" }),
    ];
  }

  details(item, state) {
    return [
      this.head(item),
      this.balance(item),
      ...(isPinnedGroup(item) ? this.memberSection(item) : this.mergedSection(item)),
      ...this.outputSection(item),
      ...this.inputSection(item, state.open),
    ];
  }

  head(item) {
    const { explorer } = this;
    const { graph, actions } = explorer;
    const group = isPinnedGroup(item);
    const pinned = !group && actions.isPinned(item);
    const where = group
      ? showCount(item.members.length, "node")
      : [kindName(item.kind), ...this.place(item)].join(" · ");
    const value = graph.metadata.value;
    return make("header", { class: "panel__head" },
      make("h2", { tabindex: -1 },
        markIcon(item, graph), make("span", {}, itemName(item)), group ? null : tokenChip(item.pos, graph)),
      make("p", { class: "note" }, where),
      make("p", { class: "amount" },
        make("strong", { class: item.attribution < 0 ? "is-negative" : "is-positive" }, showSigned(item.attribution)),
        " logits", value ? make("span", { class: "note" }, ` ${showShare(item.attribution, value)} of the value`) : null),
      make("div", { class: "buttons" },
        group
          ? make("button", {
            type: "button", class: "button", "data-focus": "ungroup", onclick: () => actions.ungroup(item.key),
          }, "Ungroup")
          : make("button", {
            type: "button", class: "button", "data-focus": "pin", "aria-pressed": String(pinned),
            onclick: () => actions.togglePin(item),
          }, pinned ? "Unpin" : "Pin"),
        make("button", {
          type: "button", class: "button", "data-focus": "find", onclick: () => explorer.reveal(item),
        }, "Find in graph"),
        make("button", {
          type: "button", class: "button", "data-focus": "close", onclick: () => actions.select(null),
        }, "Close")));
  }

  /** Where in the model a node is, and what else it is called. */
  place(node) {
    const { component, head, kind, layer, merged } = node;
    if (merged.length) return [showCount(merged.length, "node")];
    const parts = [];
    if (layer >= 0 && kind !== "logit") parts.push(kind === "head" ? `layer ${layer}, head ${head}` : `layer ${layer}`);
    if (component !== itemName(node)) parts.push(showProse(component));
    return parts;
  }

  /** How the item's flow adds up, on either side. */
  balance(item) {
    const side = (name, edges, rest, inner) => {
      const sum = edges.reduce((total, edge) => total + edge.weight, 0);
      if (!edges.length && !rest) return [make("dt", {}, name), make("dd", {}, "none")];
      const parts = [showSigned(sum)];
      if (inner) parts.push(`${showSigned(inner)} among members`);
      if (rest) parts.push(`${showSigned(rest)} cut`);
      return [make("dt", {}, name), make("dd", {}, parts.join("  "))];
    };
    return make("dl", { class: "balance" },
      side("Inputs", item.inputs, item.restIn, item.inner),
      side("Outputs", item.outputs, item.restOut, item.inner));
  }

  memberSection(item) {
    const flows = item.members.map((member) => [member, member.attribution]);
    return [
      sectionTitle("Members", "their attributions"),
      this.members.render(itemKey(item), flows, {
        whole: item.attribution, limit: MEMBERS_LIMIT, label: "Members",
      }),
    ];
  }

  /** What a node stands for that was merged from others before the page was made. */
  mergedSection(item) {
    if (!item.merged.length) return [];
    const { graph } = this.explorer;
    const byStrength = [...item.merged].sort(byAttribution);
    const most = Math.abs(byStrength[0].attribution);
    return [
      sectionTitle("Members", "their attributions, before they were merged"),
      make("ul", { class: "rows", "aria-label": "Members" }, byStrength.map((member) =>
        make("li", { class: "row row--merged" },
          markIcon(member, graph),
          make("span", { class: "row__name" },
            make("span", { class: "row__component" }, itemName(member)), tokenChip(member.pos, graph)),
          ...flowCells({ flow: member.attribution, whole: item.attribution, most })))),
    ];
  }

  outputSection(item) {
    if (!item.outputs.length) return [];
    const flows = item.outputs.map((edge) => [edge.target, edge.weight]);
    return [
      sectionTitle("Outputs", "what it is read into"),
      this.outputs.render(itemKey(item), flows, {
        whole: item.attribution, limit: OUTPUTS_LIMIT, label: "Outputs",
      }),
    ];
  }

  inputSection(item, open) {
    if (!item.inputs.length && !item.restIn) {
      return [make("p", { class: "note" }, "Nothing flows in: this is where the graph ends.")];
    }
    return [sectionTitle("Inputs", "unfold with ▸ to go deeper"), this.tree.render(item, open)];
  }
}

function sectionTitle(name, note) {
  return make("h3", {}, name, " ", make("span", { class: "note" }, note));
}

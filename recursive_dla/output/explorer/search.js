// Finding nodes by component, token or id.

const FOUND_LIMIT = 40;

/** The nodes that every word of the query matches, strongest first. */
class Index {
  constructor(graph) {
    this.entries = graph.byStrength.map((node) => ({
      node,
      text: [
        node.id, node.component, kindName(node.kind), graph.tokens[node.pos] ?? "", graph.token(node.pos),
      ].join("\n").toLowerCase(),
    }));
  }

  find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return this.entries
      .filter(({ text }) => words.every((word) => text.includes(word)))
      .map(({ node }) => node);
  }
}

class Search {
  constructor(explorer) {
    this.explorer = explorer;
    this.field = find("search");
    this.list = find("found");
    this.active = -1;
    this.field.addEventListener("input", () => {
      this.active = -1;
      explorer.store.change({ query: this.field.value }, "search");
    });
    this.field.addEventListener("keydown", (event) => this.keydown(event));
  }

  render({ state, found }) {
    if (this.field.value !== state.query) this.field.value = state.query;
    if (this.rendered !== found) {
      this.rendered = found;
      this.active = -1;
      this.list.replaceChildren(...found.slice(0, FOUND_LIMIT).map((node, i) => this.option(node, i)));
    }
    const searching = state.query.trim() !== "";
    this.list.hidden = !found.length;
    this.field.setAttribute("aria-expanded", String(found.length > 0));
    find("found-count").textContent = !searching ? "" : found.length > FOUND_LIMIT
      ? `${showCount(found.length, "node")} found, the ${FOUND_LIMIT} strongest listed`
      : `${showCount(found.length, "node")} found`;
    this.mark();
  }

  option(node, i) {
    const { explorer } = this;
    return make("li", {
      class: "row row--found", role: "option", id: `found-${i}`, "aria-selected": "false",
      "aria-label": `${itemLabel(node, explorer.graph)}, ${showSigned(node.attribution)} logits`,
      onclick: () => explorer.goTo(node),
      onpointerenter: () => explorer.stage.hover(explorer.drawnFor(node)),
      onpointerleave: () => explorer.stage.hover(null),
    },
    markIcon(node, explorer.graph),
    make("span", { class: "row__name" },
      make("span", { class: "row__component" }, itemName(node)), tokenChip(node.pos, explorer.graph)),
    make("span", { class: "row__flow" }, showSigned(node.attribution)));
  }

  mark() {
    [...this.list.children].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === this.active));
    });
    const option = this.list.children[this.active];
    if (option) {
      this.field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      this.field.removeAttribute("aria-activedescendant");
    }
  }

  keydown(event) {
    const count = this.list.children.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count) {
      this.active = (this.active + step + count + (this.active < 0 && step < 0)) % count;
      this.mark();
    } else if (event.key === "Enter" && count) {
      this.explorer.goTo(this.rendered[Math.max(0, this.active)]);
    } else if (event.key === "Escape") {
      this.explorer.store.change({ query: "" });
    } else {
      return;
    }
    event.preventDefault();
  }
}

// The state of the view and its history.

const MOST_STEPS = 300;
const SAME_GESTURE = 1000; // milliseconds

function openingState(graph) {
  return {
    selected: null, // {node: id} or {group: key}
    open: [], // paths unfolded in the tree of the selected item
    share: graph.openingShare(), // of all absolute edge weight, held by the strongest edges
    rooted: true, // only what leads to a logit
    hidden: [], // kinds
    layers: null, // [lowest, highest]
    heads: [], // only these, or all
    tokens: [], // only these positions, or all
    query: "",
    pins: [],
    groups: [], // {key, name, members, folded}; no member is in `pins`
    compact: false,
  };
}

/** States are never changed in place: every change is a step in the history. */
class Store {
  constructor(state) {
    this.state = state;
    this.past = [];
    this.future = [];
    this.gesture = { name: null, time: 0 };
    this.listeners = [];
  }

  subscribe(listener) {
    this.listeners.push(listener);
  }

  /** Steps of one gesture (a slider drag, typing) in quick succession are one. */
  change(part, gesture = null) {
    const next = { ...this.state, ...part };
    if (JSON.stringify(next) === JSON.stringify(this.state)) return;
    const now = performance.now();
    const goesOn =
      gesture !== null && gesture === this.gesture.name && now - this.gesture.time < SAME_GESTURE;
    this.gesture = { name: gesture, time: now };
    if (!goesOn) {
      this.past.push(this.state);
      if (this.past.length > MOST_STEPS) this.past.shift();
    }
    this.future = [];
    this.become(next);
  }

  undo() {
    this.step(this.past, this.future);
  }

  redo() {
    this.step(this.future, this.past);
  }

  step(from, to) {
    if (!from.length) return;
    this.gesture = { name: null, time: 0 };
    to.push(this.state);
    this.become(from.pop());
  }

  become(state) {
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }
}

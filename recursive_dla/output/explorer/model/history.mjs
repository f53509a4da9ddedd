// The states of the view, one after another.

/** @import { State } from "./types.d.mts" */

const MOST_STEPS = 300;
const SAME_GESTURE = 1000; // milliseconds

/** States are never changed in place: every change is a step that can be undone. */
export class StateHistory {
  /** @param {State} state @param {() => number} now Milliseconds since any one moment. */
  constructor(state, now = Date.now) {
    this.state = state;
    this.now = now;
    /** @type {State[]} */
    this.past = [];
    /** @type {State[]} */
    this.future = [];
    /** @type {{ name: string | null, time: number }} */
    this.gesture = { name: null, time: 0 };
    /** @type {(() => void)[]} */
    this.listeners = [];
  }

  /** @param {() => void} listener */
  subscribe(listener) {
    this.listeners.push(listener);
  }

  /**
   * Steps of one gesture (a slider drag, typing) in quick succession are one.
   *
   * @param {Partial<State>} part
   * @param {string | null} gesture
   */
  change(part, gesture = null) {
    const next = { ...this.state, ...part };
    if (JSON.stringify(next) === JSON.stringify(this.state)) return;
    const now = this.now();
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

  /** @param {State[]} from @param {State[]} to */
  step(from, to) {
    const state = from.pop();
    if (!state) return;
    this.gesture = { name: null, time: 0 };
    to.push(this.state);
    this.become(state);
  }

  /** @param {State} state */
  become(state) {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

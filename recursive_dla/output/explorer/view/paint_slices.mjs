// Painting much over several frames, the strongest first: what matters is seen
// at once, and no input waits for the rest.

/** @template Thing */
export class Slices {
  /**
   * @param {number} first How many are painted when asked for.
   * @param {number} next How many in each frame that follows.
   */
  constructor(first, next) {
    this.first = first;
    this.next = next;
    /** @type {Thing[]} */
    this.things = [];
    /** @type {(thing: Thing) => void} */
    this.draw = () => {};
    this.painted = 0;
  }

  stop() {
    this.things = [];
    this.painted = 0;
  }

  get unfinished() {
    return this.painted < this.things.length;
  }

  /** Whether that many are painted in one go. @param {Thing[]} things */
  fits(things) {
    return things.length <= this.next;
  }

  /**
   * @param {Thing[]} things
   * @param {(thing: Thing) => void} draw
   * @param {boolean} atOnce Whether all are painted now.
   */
  start(things, draw, atOnce = this.fits(things)) {
    this.things = things;
    this.draw = draw;
    this.painted = 0;
    this.paint(atOnce ? things.length : this.first);
  }

  goOn() {
    this.paint(this.next);
  }

  /** @param {number} count */
  paint(count) {
    const end = Math.min(this.things.length, this.painted + count);
    for (let i = this.painted; i < end; i++) this.draw(this.things[i]);
    this.painted = end;
  }
}

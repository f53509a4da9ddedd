// Walking from item to item in a direction.

/** @import { Item, Positions } from "./types.d.mts" */

// Sideways distance counts this much more than distance ahead.
const ASIDE = 2;

/**
 * The nearest item in a direction; null if there is none.
 *
 * @param {Item} from
 * @param {[number, number]} direction To the right and downwards.
 * @param {Item[]} items
 * @param {Positions} at
 */
export function neighbour(from, [dx, dy], items, at) {
  let best = null;
  let least = Infinity;
  for (const item of items) {
    const x = at.x[item.index] - at.x[from.index];
    const y = at.y[item.index] - at.y[from.index];
    const ahead = x * dx + y * dy;
    if (ahead < 1) continue;
    const cost = ahead + ASIDE * Math.abs(x * dy - y * dx);
    if (cost < least) [best, least] = [item, cost];
  }
  return best;
}

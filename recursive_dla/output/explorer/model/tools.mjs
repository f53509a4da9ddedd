// Small things that several modules need.

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** @template T @param {T[]} values */
export function unique(values) {
  return [...new Set(values)];
}

/**
 * A function that recomputes only when one of its arguments is another one.
 *
 * @template {unknown[]} Inputs
 * @template Result
 * @param {(...inputs: Inputs) => Result} compute
 * @returns {(...inputs: Inputs) => Result}
 */
export function remember(compute) {
  /** @type {{ inputs: Inputs, result: Result } | null} */
  let known = null;
  return (...inputs) => {
    if (known === null || inputs.some((input, i) => input !== known?.inputs[i])) {
      known = { inputs, result: compute(...inputs) };
    }
    return known.result;
  };
}

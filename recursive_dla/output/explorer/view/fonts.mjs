// The fonts of what is painted.

const MONOSPACE = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const SANS = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/** The width of a monospaced letter, in font sizes. */
export const LETTER = 0.602;

/** @param {boolean} sans */
export function fontFamily(sans) {
  return sans ? SANS : MONOSPACE;
}

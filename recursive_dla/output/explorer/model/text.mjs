// Text and numbers as the page shows them.

// Characters that would be invisible, break the line or turn the direction of
// the text around them.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Z}]/gu;
const GLYPHS = new Map([[" ", "·"], ["\n", "⏎"], ["\t", "⇥"]]);

/** @param {string} character */
function showCharacter(character) {
  const glyph = GLYPHS.get(character);
  if (glyph) return glyph;
  const hex = (character.codePointAt(0) ?? 0).toString(16);
  if (hex.length <= 2) return `\\x${hex.padStart(2, "0")}`;
  return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
}

/** A token with every character visible. @param {string} text */
export function showToken(text) {
  if (text === "") return "∅";
  const shown = text.replace(UNSEEN, showCharacter);
  // A leading combining mark would sit on whatever is written before it.
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown;
}

/** Running text: its spaces stay spaces, all else unseen becomes visible. @param {string} text */
export function showProse(text) {
  return text.replace(UNSEEN, (character) => (character === " " ? " " : showCharacter(character)));
}

/** @param {string} text @param {number} limit */
export function shorten(text, limit) {
  const characters = Array.from(text);
  return characters.length <= limit ? text : `${characters.slice(0, limit - 1).join("")}…`;
}

/** A number of logits: three decimals, or an exponent where those would be 0. @param {number} value */
export function showNumber(value) {
  if (!Number.isFinite(value)) return "undefined";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size >= 0.0005 && size < 1e6 ? size.toFixed(3) : size.toExponential(1);
  return (value < 0 ? "−" : "") + digits.replace("-", "−");
}

/** @param {number} value */
export function showSigned(value) {
  return (value > 0 && Number.isFinite(value) ? "+" : "") + showNumber(value);
}

/** @param {number} part @param {number} whole */
export function showShare(part, whole) {
  const share = (100 * part) / whole;
  if (!Number.isFinite(share)) return "–";
  const size = Math.abs(share);
  if (size > 0 && size < 0.05) return "≈ 0%";
  if (size >= 9999.5) return share < 0 ? "< −9999%" : "> 9999%";
  return `${share < 0 ? "−" : ""}${size.toFixed(size < 99.95 ? 1 : 0)}%`;
}

/** @param {number} count @param {string} singular */
export function showCount(count, singular, plural = `${singular}s`) {
  return `${count.toLocaleString("en-US")} ${count === 1 ? singular : plural}`;
}

// Building elements. Text always enters as text nodes, never as markup.

export const SVG_SPACE = "http://www.w3.org/2000/svg";

/** @typedef {string | number | boolean | null | undefined} Value */
/** @typedef {Element | string | null | false} Child */

/**
 * Attributes, and listeners as "onclick": function. What is null or false is left out.
 *
 * @typedef {{
 *   [Name in "class" | "id" | "type" | "title" | "role" | "tabindex" | "hidden" | "spellcheck" | "href" | "download"
 *     | "viewBox" | "d" | `aria-${string}` | `data-${string}`]?: Value
 * } & {
 *   [Name in keyof HTMLElementEventMap as `on${Name}`]?: (event: HTMLElementEventMap[Name]) => void
 * }} Attributes
 */

/** The element of the page that has this id. @param {string} id */
export function find(id) {
  return findAs(HTMLElement, id);
}

/**
 * As `find`, for an element that is known to be of this type.
 *
 * @template {Element} T
 * @param {new () => T} type
 * @param {string} id
 */
export function findAs(type, id) {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`the page has no ${type.name} with this id: ${id}`);
}

/**
 * The element an event is of, or the first around it, that fits a selector.
 *
 * @param {Event} event
 * @param {string} selector
 */
export function closest({ target }, selector) {
  const found = target instanceof Element ? target.closest(selector) : null;
  return found instanceof HTMLElement ? found : null;
}

/** What has the focus. */
export function focused() {
  const { activeElement } = document;
  return activeElement instanceof HTMLElement ? activeElement : null;
}

/**
 * An element with its attributes, listeners and children.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...(Child | Child[])} children
 */
export function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...(Child | Child[])} children
 */
export function makeSvg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG_SPACE, tag), attributes, children);
}

/**
 * @template {Element} T
 * @param {T} element
 * @param {Attributes} attributes
 * @param {(Child | Child[])[]} children
 */
function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : `${value}`);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

/**
 * Gives `element` these children, and leaves in place what it holds already: laying out anew is dear.
 *
 * @param {Element} element
 * @param {Element[]} children
 */
export function fill(element, children) {
  /** @type {Set<Node>} */
  const wanted = new Set(children);
  for (const child of [...element.childNodes]) if (!wanted.has(child)) child.remove();
  children.forEach((child, i) => {
    if (element.childNodes[i] !== child) element.insertBefore(child, element.childNodes[i] ?? null);
  });
}

/**
 * As `fill`, but where a child is like one that is there, that one stays. Listeners must be on `element`.
 *
 * @param {Element} element
 * @param {Element[]} children
 */
export function refill(element, children) {
  const known = new Map([...element.children].map((child) => [child.outerHTML, child]));
  fill(element, children.map((child) => known.get(child.outerHTML) ?? child));
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/** Says `message` to screen readers and shows it for a moment. @param {string} message */
export function announce(message) {
  const status = find("status");
  status.textContent = message;
  status.classList.add("is-fresh");
  clearTimeout(fading);
  fading = setTimeout(() => status.classList.remove("is-fresh"), 2500);
}

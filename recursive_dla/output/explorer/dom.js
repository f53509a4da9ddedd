// Building elements. Text always enters as text nodes, never as markup.

const SVG_SPACE = "http://www.w3.org/2000/svg";

function find(id) {
  return document.getElementById(id);
}

/**
 * An element with its attributes, listeners ("onclick": function) and children
 * (elements or text; null and false are left out).
 */
function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG_SPACE, tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

/** Gives `element` these children, and leaves in place what it holds already: laying out anew is dear. */
function fill(element, children) {
  const wanted = new Set(children);
  for (const child of [...element.childNodes]) if (!wanted.has(child)) child.remove();
  children.forEach((child, i) => {
    if (element.childNodes[i] !== child) element.insertBefore(child, element.childNodes[i] ?? null);
  });
}

/** As `fill`, but where a child is like one that is there, that one stays. Listeners must be on `element`. */
function refill(element, children) {
  const known = new Map([...element.children].map((child) => [child.outerHTML, child]));
  fill(element, children.map((child) => known.get(child.outerHTML) ?? child));
}

/** A function that recomputes only when one of its arguments is another one. */
function remember(compute) {
  let known = null;
  let result;
  return (...inputs) => {
    if (known === null || inputs.some((input, i) => input !== known[i])) {
      known = inputs;
      result = compute(...inputs);
    }
    return result;
  };
}

/** Says `message` to screen readers and shows it for a moment. */
function announce(message) {
  const status = find("status");
  status.textContent = message;
  status.classList.add("is-fresh");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => status.classList.remove("is-fresh"), 2500);
}

// The two ways to put a scene on a surface. Both know the same few strokes.

const MONOSPACE = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const SANS = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

const pathOf = (() => {
  const known = new Map();
  return (outline) => {
    if (!known.has(outline)) known.set(outline, new Path2D(outline));
    return known.get(outline);
  };
})();

class CanvasPainter {
  /** With `beneath`, what is painted first stays on top. */
  constructor(canvas, width, height, beneath = false) {
    this.beneath = beneath;
    this.scale = window.devicePixelRatio || 1;
    const pixels = [Math.round(width * this.scale), Math.round(height * this.scale)];
    // Setting the size also clears, but costs a new bitmap each time.
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
      [canvas.width, canvas.height] = pixels;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    this.context = canvas.getContext("2d");
    this.context.globalCompositeOperation = beneath ? "destination-over" : "source-over";
    this.reset();
  }

  reset() {
    this.context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
  }

  clear() {
    const { width, height } = this.context.canvas;
    this.context.clearRect(0, 0, width, height);
  }

  rect(x, y, width, height, fill) {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, width, height);
  }

  line(x0, y0, x1, y1, stroke) {
    const { context } = this;
    context.strokeStyle = stroke;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  }

  curve([x0, y0, x1, y1, x2, y2, x3, y3], { colour, width, opacity }) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.globalAlpha = opacity;
    context.beginPath();
    context.moveTo(x0, y0);
    context.bezierCurveTo(x1, y1, x2, y2, x3, y3);
    context.stroke();
    context.globalAlpha = 1;
  }

  shape(outline, x, y, radius, { fill, stroke, width }) {
    const { context, scale } = this;
    const path = pathOf(outline);
    context.setTransform(radius * scale, 0, 0, radius * scale, x * scale, y * scale);
    context.fillStyle = fill;
    context.strokeStyle = stroke;
    context.lineWidth = width / radius;
    if (width && this.beneath) context.stroke(path);
    context.fill(path);
    if (width && !this.beneath) context.stroke(path);
    this.reset();
  }

  ring(x, y, radius, { stroke, width, fill = null, dash = null }) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) {
      context.fillStyle = fill;
      context.fill();
    }
    context.setLineDash(dash ?? []);
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.stroke();
    context.setLineDash([]);
  }

  text(x, y, text, { size, colour, align, angle = 0, weight = 400, halo = null, sans = false }) {
    const { context } = this;
    context.font = `${weight} ${size}px ${sans ? SANS : MONOSPACE}`;
    context.textAlign = { start: "left", middle: "center", end: "right" }[align];
    context.textBaseline = "middle";
    context.translate(x, y);
    context.rotate(angle);
    if (halo) {
      context.strokeStyle = halo;
      context.lineWidth = 3;
      context.lineJoin = "round";
      context.strokeText(text, 0, 0);
    }
    context.fillStyle = colour;
    context.fillText(text, 0, 0);
    this.reset();
  }
}

class SvgPainter {
  constructor(width, height, title) {
    this.parts = [
      `<svg xmlns="${SVG_SPACE}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    ];
    this.add("title", {}, title);
  }

  /** What `draw` paints, moved to the right by `x` and cut to the given size. */
  inset({ x, width, height }, draw) {
    this.parts.push(
      `<clipPath id="plot"><rect width="${width}" height="${height}"/></clipPath>`,
      `<g transform="translate(${x} 0)" clip-path="url(#plot)">`,
    );
    draw();
    this.parts.push("</g>");
  }

  /** What `draw` paints, fainter or moved downwards. */
  layer({ opacity = 1, y = 0 }, draw) {
    this.parts.push(`<g${opacity === 1 ? "" : ` opacity="${opacity}"`}${y ? ` transform="translate(0 ${y})"` : ""}>`);
    draw();
    this.parts.push("</g>");
  }

  finish() {
    return [...this.parts, "</svg>\n"].join("\n");
  }

  add(tag, attributes, text = null) {
    const written = Object.entries(attributes)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => ` ${name}="${escapeXml(typeof value === "number" ? short(value) : value)}"`)
      .join("");
    this.parts.push(`<${tag}${written}${text === null ? "/>" : `>${escapeXml(text)}</${tag}>`}`);
  }

  rect(x, y, width, height, fill) {
    this.add("rect", { x, y, width, height, fill });
  }

  line(x1, y1, x2, y2, stroke) {
    this.add("line", { x1, y1, x2, y2, stroke });
  }

  curve(points, { colour, width, opacity }) {
    const [x0, y0, ...rest] = points.map(short);
    this.add("path", {
      d: `M${x0},${y0}C${rest.join(",")}`,
      fill: "none", stroke: colour, "stroke-width": width, "stroke-opacity": opacity,
    });
  }

  shape(outline, x, y, radius, { fill, stroke, width }) {
    this.add("path", {
      d: outline,
      transform: `translate(${short(x)} ${short(y)}) scale(${short(radius)})`,
      fill, stroke, "stroke-width": width / radius,
    });
  }

  ring(cx, cy, r, { stroke, width, fill = "none", dash = null }) {
    this.add("circle", {
      cx, cy, r, fill, stroke, "stroke-width": width,
      "stroke-dasharray": dash ? dash.join(" ") : null,
    });
  }

  text(x, y, text, { size, colour, align, angle = 0, weight = 400, halo = null, sans = false }) {
    const turn = angle ? ` rotate(${short((180 * angle) / Math.PI)})` : "";
    this.add("text", {
      transform: `translate(${short(x)} ${short(y)})${turn}`,
      "font-family": sans ? SANS : MONOSPACE,
      "font-size": size,
      "font-weight": weight,
      "text-anchor": align,
      "dominant-baseline": "central",
      fill: colour,
      stroke: halo,
      "stroke-width": halo ? 3 : null,
      "stroke-linejoin": halo ? "round" : null,
      "paint-order": halo ? "stroke" : null,
    }, text);
  }
}

function short(value) {
  return String(Math.round(100 * value) / 100);
}

function escapeXml(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };
  return text.replace(/[&<>"']/g, (character) => names[character]);
}

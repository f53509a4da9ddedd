import type { Curve } from "../model/types.d.mts";

/** What a scene is painted with: on a canvas, or into an SVG file. Lengths are in pixels. */
export interface Painter {
  rect(x: number, y: number, width: number, height: number, fill: string): void;
  line(x0: number, y0: number, x1: number, y1: number, stroke: string): void;
  curve(points: Curve, style: { colour: string; width: number; opacity: number }): void;
  shape(outline: string, x: number, y: number, radius: number, style: ShapeStyle): void;
  ring(x: number, y: number, radius: number, style: RingPaint): void;
  text(x: number, y: number, text: string, style: TextStyle): void;
}

export interface ShapeStyle {
  fill: string;
  stroke: string;
  width: number;
}

export interface RingPaint {
  stroke: string;
  width: number;
  fill?: string | null;
  dash?: number[] | null;
}

export interface TextStyle {
  size: number;
  colour: string;
  align: "start" | "middle" | "end";
  /** In radians, clockwise. */
  angle?: number;
  weight?: number;
  /** The colour of a rim around the letters. */
  halo?: string | null;
  sans?: boolean;
}

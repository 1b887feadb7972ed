// @ts-check
/** Marks that draw one cell of the grid or of the token map. */
import { shade } from "./palette.mjs";
import { stateOf } from "./texts.mjs";

/** Below this many pixels a cell has no room for a mark beside its shade. */
const MARKED = 8;

/**
 * One cell: its shade, and where there is room a stroke (predicted) or a dot (partial), for eyes that see no colour.
 * @param {CanvasRenderingContext2D} ctx
 * @param {{ x: number, y: number, width: number, height: number }} box
 * @param {number} fraction
 * @param {import("./palette.mjs").Palette} palette
 */
export function drawCell(ctx, { x, y, width, height }, fraction, palette) {
  const w = width >= 4 ? width - 1 : width;
  const h = height >= 4 ? height - 1 : height;
  ctx.fillStyle = shade(fraction, palette);
  ctx.fillRect(x, y, w, h);
  if (Math.min(width, height) < MARKED) return;
  const state = stateOf(fraction);
  const [cx, cy, reach] = [x + w / 2, y + h / 2, Math.min(w, h) / 2 - 2];
  if (state === "predicted") strokeMark(ctx, cx, cy, reach, palette.mark);
  if (state === "partial") dotMark(ctx, cx, cy, Math.max(0.6 * reach, 1.5), palette.computed);
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y
 * @param {number} reach @param {string} colour */
function strokeMark(ctx, x, y, reach, colour) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(x - reach, y + reach);
  ctx.lineTo(x + reach, y - reach);
  ctx.stroke();
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y
 * @param {number} radius @param {string} colour */
export function dotMark(ctx, x, y, radius, colour) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

// @ts-check
/**
 * What lies under a point of the canvas.
 *
 * @typedef {import("./layout.mjs").MapLayout} MapLayout
 * @typedef {{ evaluation: number, block: number }} GridHit
 * @typedef {{ sample: number, frame: number, row: number, column: number }} TokenHit
 */
import { AXIS } from "./layout.mjs";

/**
 * @param {MapLayout} layout
 * @param {number} x
 * @param {number} y
 * @returns {GridHit | null} the cell under a point
 */
export function gridHit({ grid }, x, y) {
  if (x < grid.x || x >= grid.x + grid.width) return null;
  const block = grid.rows.findIndex((top) => y >= top && y < top + grid.cellHeight);
  return block < 0 ? null : { evaluation: Math.floor((x - grid.x) / grid.cellWidth), block };
}

/**
 * @param {MapLayout} layout
 * @param {number} x
 * @param {number} y
 * @returns {number | null} the evaluation whose column (its number and its part of the curve too) is under a point
 */
export function columnHit({ grid, curve }, x, y) {
  const bottom = curve ? curve.y + curve.height : grid.y + grid.height + AXIS;
  const inside = x >= grid.x && x < grid.x + grid.width && y >= grid.y && y < bottom;
  return inside ? Math.floor((x - grid.x) / grid.cellWidth) : null;
}

/**
 * @param {MapLayout} layout
 * @param {number} x
 * @param {number} y
 * @returns {number | null} the evaluation whose part of the curve is under a point
 */
export function curveHit(layout, x, y) {
  return layout.curve && y >= layout.curve.y ? columnHit(layout, x, y) : null;
}

/**
 * @param {MapLayout} layout
 * @param {{ width: number, height: number } | null} size of a tile in tokens
 * @param {number} x
 * @param {number} y
 * @returns {TokenHit | null} the token under a point
 */
export function tokenHit({ tokens }, size, x, y) {
  if (!tokens || !size) return null;
  for (const tile of tokens.tiles) {
    const column = Math.floor((x - tile.x) / tokens.cell);
    const row = Math.floor((y - tile.y) / tokens.cell);
    if (column >= 0 && column < size.width && row >= 0 && row < size.height) {
      return { sample: tile.sample, frame: tile.frame, row, column };
    }
  }
  return null;
}

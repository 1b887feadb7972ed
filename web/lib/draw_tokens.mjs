// @ts-check
/**
 * Draws the token map of an evaluation: cells as in the grid, or shades over the picture that came out.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./layout.mjs").TokenLayout} TokenLayout
 * @typedef {import("./layout.mjs").Tile} Tile
 * @typedef {import("./draw.mjs").Theme} Theme
 */
import { drawCell } from "./marks.mjs";
import { channels } from "./palette.mjs";
import { isTokenComputed, tokensTexts } from "./texts.mjs";

/** Of the shade on predicted tokens: dark enough to be told from any picture's own colours, light enough to see it. */
const VEIL = 0.62;

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {SkipReport} report
 * @param {TokenLayout} tokens
 * @param {import("./draw.mjs").Shown} shown
 * @param {Theme} theme
 */
export function drawTokens(ctx, report, tokens, { selected, picture }, theme) {
  ctx.textAlign = "left";
  ctx.fillStyle = theme.text;
  const captions = tokensTexts(report, selected, tokens.shown);
  const fitting = captions.find((caption) => ctx.measureText(caption).width <= tokens.width);
  ctx.fillText(fitting ?? captions[captions.length - 1], tokens.x, tokens.captionY + 6.5, tokens.width);
  const size = /** @type {import("./report.mjs").TokenMaps} */ (report.tokens);
  for (const tile of tokens.tiles) {
    const under = picture(tile.sample, tile.frame);
    const isComputed = (/** @type {number} */ row, /** @type {number} */ column) =>
      isTokenComputed(report, selected, { sample: tile.sample, frame: tile.frame, row, column });
    if (under) drawOver(ctx, under, tile, tokens.cell, size, isComputed, theme);
    else drawPlain(ctx, tile, tokens.cell, size, isComputed, theme);
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx @param {Tile} tile @param {number} cell
 * @param {{ width: number, height: number }} size @param {(row: number, column: number) => boolean} isComputed
 * @param {Theme} theme
 */
function drawPlain(ctx, tile, cell, size, isComputed, { palette }) {
  for (const { row, column } of cells(size)) {
    const box = { x: tile.x + column * cell, y: tile.y + row * cell, width: cell, height: cell };
    drawCell(ctx, box, isComputed(row, column) ? 1 : 0, palette);
  }
}

/** The picture, predicted tokens veiled, and a line where computed ones begin.
 * @param {CanvasRenderingContext2D} ctx @param {CanvasImageSource} under @param {Tile} tile @param {number} cell
 * @param {{ width: number, height: number }} size @param {(row: number, column: number) => boolean} isComputed
 * @param {Theme} theme
 */
function drawOver(ctx, under, tile, cell, size, isComputed, { palette }) {
  ctx.drawImage(under, tile.x, tile.y, size.width * cell, size.height * cell);
  ctx.fillStyle = `rgba(${channels(palette.predicted).join(", ")}, ${VEIL})`;
  for (const { row, column } of cells(size)) {
    if (!isComputed(row, column)) ctx.fillRect(tile.x + column * cell, tile.y + row * cell, cell, cell);
  }
  ctx.fillStyle = palette.computed;
  for (const { row, column } of cells(size)) {
    const [x, y, here] = [tile.x + column * cell, tile.y + row * cell, isComputed(row, column)];
    if (column > 0 && here !== isComputed(row, column - 1)) ctx.fillRect(x - 0.5, y - 0.5, 1, cell + 1);
    if (row > 0 && here !== isComputed(row - 1, column)) ctx.fillRect(x - 0.5, y - 0.5, cell + 1, 1);
  }
}

/** @param {{ width: number, height: number }} size @returns {{ row: number, column: number }[]} */
function cells({ width, height }) {
  return Array.from({ length: width * height }, (_, i) => ({ row: Math.floor(i / width), column: i % width }));
}

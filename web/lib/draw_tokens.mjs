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
import { tokensTexts } from "./texts.mjs";

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
    const bits = bitsOf(size, selected, tile);
    if (under) drawOver(ctx, under, tile, tokens.cell, size, bits, theme);
    else drawPlain(ctx, tile, tokens.cell, size, bits, theme);
  }
}

/** The mask of one frame of one sample.
 * @param {import("./report.mjs").TokenMaps} tokens @param {number} evaluation @param {Tile} tile
 * @returns {Uint8Array} */
function bitsOf({ masks, frames, height, width }, evaluation, { sample, frame }) {
  const start = (sample * frames + frame) * height * width;
  return masks[evaluation].subarray(start, start + height * width);
}

/**
 * @param {CanvasRenderingContext2D} ctx @param {Tile} tile @param {number} cell
 * @param {{ width: number, height: number }} size @param {Uint8Array} bits @param {Theme} theme
 */
function drawPlain(ctx, tile, cell, { width }, bits, { palette }) {
  bits.forEach((bit, i) => {
    const box = { x: tile.x + (i % width) * cell, y: tile.y + Math.floor(i / width) * cell, width: cell, height: cell };
    drawCell(ctx, box, bit, palette);
  });
}

/** The picture, predicted tokens veiled, and a line where computed ones begin.
 * @param {CanvasRenderingContext2D} ctx @param {CanvasImageSource} under @param {Tile} tile @param {number} cell
 * @param {{ width: number, height: number }} size @param {Uint8Array} bits @param {Theme} theme
 */
function drawOver(ctx, under, tile, cell, { width, height }, bits, { palette }) {
  ctx.drawImage(under, tile.x, tile.y, width * cell, height * cell);
  ctx.fillStyle = `rgba(${channels(palette.predicted).join(", ")}, ${VEIL})`;
  bits.forEach((bit, i) => {
    if (!bit) ctx.fillRect(tile.x + (i % width) * cell, tile.y + Math.floor(i / width) * cell, cell, cell);
  });
  ctx.fillStyle = palette.computed;
  bits.forEach((bit, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    const [x, y] = [tile.x + column * cell, tile.y + row * cell];
    if (column > 0 && bit !== bits[i - 1]) ctx.fillRect(x - 0.5, y - 0.5, 1, cell + 1);
    if (row > 0 && bit !== bits[i - width]) ctx.fillRect(x - 0.5, y - 0.5, cell + 1, 1);
  });
}

// @ts-check
/**
 * Draws the map on a 2D context, from its layout. Reads nothing of the page.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./layout.mjs").MapLayout} MapLayout
 * @typedef {{ text: string, line: string, font: string }} Theme
 */
import { PALETTE, shade } from "./palette.mjs";
import { isTokenComputed, stateOf, tokensTexts } from "./texts.mjs";

/** Below this many pixels a cell has no room for a mark beside its shade. */
const MARKED = 8;

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {SkipReport} report
 * @param {MapLayout} layout
 * @param {number} selected evaluation
 * @param {Theme} theme
 */
export function drawMap(ctx, report, layout, selected, theme) {
  ctx.font = theme.font;
  ctx.textBaseline = "middle";
  drawLegend(ctx, layout, theme);
  drawAxes(ctx, layout, selected, theme);
  drawGrid(ctx, report, layout);
  drawSelection(ctx, layout, selected, theme);
  drawTokens(ctx, report, layout, selected, theme);
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {Theme} theme */
function drawLegend(ctx, { grid }, theme) {
  const entries = /** @type {[string, number][]} */ ([["computed", 1], ["partial", 0.5], ["predicted", 0]]);
  let x = grid.x;
  ctx.textAlign = "left";
  for (const [name, fraction] of entries) {
    drawCell(ctx, x, 3, 12, 12, fraction);
    ctx.fillStyle = theme.text;
    ctx.fillText(name, x + 17, 9.5);
    x += 17 + ctx.measureText(name).width + 14;
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {number} selected @param {Theme} theme */
function drawAxes(ctx, { grid }, selected, theme) {
  ctx.textAlign = "right";
  for (const label of grid.labels) {
    ctx.fillStyle = theme.line;
    ctx.fillRect(grid.x - 6, label.y, 1, Math.max(label.height - 1, 1));
    ctx.fillStyle = theme.text;
    ctx.fillText(label.text, grid.x - 11, label.y + label.height / 2, grid.x - 12);
  }
  const y = grid.y + grid.height + 11;
  ctx.fillStyle = theme.text;
  ctx.fillText("evaluation", grid.x - 11, y, grid.x - 12);
  ctx.textAlign = "center";
  for (const evaluation of grid.ticks) {
    ctx.fillText(String(evaluation + 1), grid.x + (evaluation + 0.5) * grid.cellWidth, y);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {SkipReport} report @param {MapLayout} layout */
function drawGrid(ctx, report, { grid }) {
  const { cellWidth, cellHeight } = grid;
  report.computed.forEach((row, evaluation) => {
    const x = grid.x + evaluation * cellWidth;
    row.forEach((fraction, block) => drawCell(ctx, x, grid.rows[block], cellWidth, cellHeight, fraction));
  });
}

/** One cell: its shade, and where there is room a stroke (predicted) or a dot (partial), for eyes that see no colour.
 * @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y
 * @param {number} width @param {number} height @param {number} fraction */
function drawCell(ctx, x, y, width, height, fraction) {
  const w = width >= 4 ? width - 1 : width;
  const h = height >= 4 ? height - 1 : height;
  ctx.fillStyle = shade(fraction);
  ctx.fillRect(x, y, w, h);
  if (Math.min(width, height) < MARKED) return;
  const state = stateOf(fraction);
  const [cx, cy, reach] = [x + w / 2, y + h / 2, Math.min(w, h) / 2 - 2];
  if (state === "predicted") strokeMark(ctx, cx, cy, reach);
  if (state === "partial") dotMark(ctx, cx, cy, Math.max(0.6 * reach, 1.5));
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} reach */
function strokeMark(ctx, x, y, reach) {
  ctx.strokeStyle = PALETTE.mark;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(x - reach, y + reach);
  ctx.lineTo(x + reach, y - reach);
  ctx.stroke();
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} radius */
function dotMark(ctx, x, y, radius) {
  ctx.fillStyle = PALETTE.computed;
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {number} selected @param {Theme} theme */
function drawSelection(ctx, { grid }, selected, theme) {
  const x = grid.x + selected * grid.cellWidth;
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1.5;
  ctx.strokeRect(x - 1.25, grid.y - 1.75, Math.max(grid.cellWidth + 1.5, 3), grid.height + 2.5);
}

/** @param {CanvasRenderingContext2D} ctx @param {SkipReport} report
 * @param {MapLayout} layout @param {number} selected @param {Theme} theme */
function drawTokens(ctx, report, { tokens, captionY }, selected, theme) {
  if (!tokens || !report.tokens) return;
  ctx.textAlign = "left";
  ctx.fillStyle = theme.text;
  const captions = tokensTexts(report, selected, tokens.shown);
  const fitting = captions.find((caption) => ctx.measureText(caption).width <= tokens.width);
  ctx.fillText(fitting ?? captions[captions.length - 1], tokens.x, captionY + 6.5, tokens.width);
  const { height, width } = report.tokens;
  for (const { x, y, sample, frame } of tokens.tiles) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const computed = isTokenComputed(report, selected, { sample, frame, row, column });
        drawCell(ctx, x + column * tokens.cell, y + row * tokens.cell, tokens.cell, tokens.cell, computed ? 1 : 0);
      }
    }
  }
}

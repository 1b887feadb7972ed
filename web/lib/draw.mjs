// @ts-check
/**
 * Draws the map on a 2D context, from its layout. Reads nothing of the page.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./layout.mjs").MapLayout} MapLayout
 * @typedef {{ text: string, line: string, ground: string, font: string,
 *   palette: import("./palette.mjs").Palette }} Theme `ground`: what lies under the map
 * @typedef {object} Shown what is shown of a report
 * @property {number} selected evaluation
 * @property {number[] | null} tried [evaluations], a threshold that is being tried
 * @property {(sample: number, frame: number) => CanvasImageSource | null} picture to lie under a token map
 */
import { drawCurve } from "./draw_curve.mjs";
import { drawTokens } from "./draw_tokens.mjs";
import { cellParts, columnX } from "./layout.mjs";
import { drawCell } from "./marks.mjs";
import { partsOf } from "./texts.mjs";

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {SkipReport} report
 * @param {MapLayout} layout
 * @param {Shown} shown
 * @param {Theme} theme
 */
export function drawMap(ctx, report, layout, shown, theme) {
  ctx.font = theme.font;
  ctx.textBaseline = "middle";
  if (layout.legend) drawLegend(ctx, layout, theme);
  drawAxes(ctx, layout, theme);
  drawGrid(ctx, report, layout, theme);
  if (layout.curve) drawCurve(ctx, report, layout.curve, layout.grid, shown, theme);
  drawSelection(ctx, layout, shown.selected, theme);
  if (layout.tokens) drawTokens(ctx, report, layout.tokens, shown, theme);
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {Theme} theme */
function drawLegend(ctx, { grid, width }, theme) {
  const entries = /** @type {[string, number][]} */ ([["computed", 1], ["partial", 0.5], ["predicted", 0]]);
  const needed = entries.reduce((sum, [name]) => sum + 17 + ctx.measureText(name).width + 14, 0);
  let x = Math.max(Math.min(grid.x, width - needed + 14), 0);
  ctx.textAlign = "left";
  for (const [name, fraction] of entries) {
    drawCell(ctx, { x, y: 3, width: 12, height: 12 }, fraction, theme.palette);
    ctx.fillStyle = theme.text;
    ctx.fillText(name, x + 17, 9.5);
    x += 17 + ctx.measureText(name).width + 14;
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {Theme} theme */
function drawAxes(ctx, { grid }, theme) {
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
  for (const evaluation of grid.ticks) ctx.fillText(String(evaluation + 1), columnX(grid, evaluation), y);
}

/** @param {CanvasRenderingContext2D} ctx @param {SkipReport} report @param {MapLayout} layout @param {Theme} theme */
function drawGrid(ctx, report, { grid }, { palette }) {
  report.computed.forEach((row, evaluation) => row.forEach((_, block) => {
    const parts = partsOf(report, evaluation, block);
    const boxes = cellParts(grid, evaluation, block, parts.length);
    boxes.forEach((box, i) => drawCell(ctx, box, parts[i].fraction, palette));
  }));
}

/** @param {CanvasRenderingContext2D} ctx @param {MapLayout} layout @param {number} selected @param {Theme} theme */
function drawSelection(ctx, { grid, curve }, selected, theme) {
  const x = grid.x + selected * grid.cellWidth;
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1.5;
  ctx.strokeRect(x - 1.25, grid.y - 1.75, Math.max(grid.cellWidth + 1.5, 3), grid.height + 2.5);
  if (!curve) return;
  ctx.lineWidth = 1;
  ctx.strokeRect(x - 0.5, curve.y + 0.5, Math.max(grid.cellWidth, 2), curve.height - 1);
}

// @ts-check
/**
 * Draws what was held against the threshold, over the evaluations.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./layout.mjs").CurveLayout} CurveLayout
 * @typedef {import("./layout.mjs").GridLayout} GridLayout
 * @typedef {import("./draw.mjs").Theme} Theme
 */
import { isPositive, yOf } from "./curve.mjs";
import { curveCaptions } from "./cell_texts.mjs";
import { columnX } from "./layout.mjs";
import { dotMark } from "./marks.mjs";
import { significant } from "./numbers.mjs";

/** Opacities and sizes of what must not hide the curve. */
const FAINT = { forced: 0.16, band: 0.28, tick: 0.35 };
const POINT = 2.6;

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {SkipReport} report
 * @param {CurveLayout} layout
 * @param {GridLayout} grid whose columns the curve shares
 * @param {import("./draw.mjs").Shown} shown
 * @param {Theme} theme
 */
export function drawCurve(ctx, report, layout, grid, { tried }, theme) {
  drawForced(ctx, report, layout, grid, theme);
  drawTicks(ctx, layout, theme);
  drawCaption(ctx, layout, theme);
  drawBand(ctx, layout, grid, theme);
  drawThreshold(ctx, layout, grid, tried, theme);
  drawHeld(ctx, layout, grid, tried, theme);
  drawRealised(ctx, layout, grid, theme);
}

/** Columns that no threshold decided about. @param {CanvasRenderingContext2D} ctx @param {SkipReport} report
 * @param {CurveLayout} layout @param {GridLayout} grid @param {Theme} theme */
function drawForced(ctx, { forced }, layout, grid, theme) {
  ctx.fillStyle = theme.text;
  ctx.globalAlpha = FAINT.forced;
  (forced ?? []).forEach((why, e) => {
    if (why !== null) ctx.fillRect(grid.x + e * grid.cellWidth, layout.y, grid.cellWidth, layout.height);
  });
  ctx.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {Theme} theme */
function drawTicks(ctx, layout, theme) {
  ctx.textAlign = "right";
  for (const { value, y } of layout.ticks) {
    ctx.globalAlpha = FAINT.tick;
    ctx.fillStyle = theme.line;
    ctx.fillRect(layout.x, Math.round(y), layout.width, 1);
    ctx.globalAlpha = 1;
    ctx.fillStyle = theme.text;
    ctx.fillText(significant(value, 1), layout.x - 11, y, layout.x - 12);
  }
  ctx.fillStyle = theme.line;
  ctx.fillRect(layout.x - 6, layout.y, 1, layout.height);
}

/** @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {Theme} theme */
function drawCaption(ctx, layout, theme) {
  const captions = curveCaptions(layout.curve);
  const fitting = captions.find((caption) => ctx.measureText(caption).width <= layout.width);
  ctx.textAlign = "left";
  ctx.fillStyle = theme.text;
  ctx.fillText(fitting ?? captions[captions.length - 1], layout.x, layout.captionY + 7, layout.width);
}

/** @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {GridLayout} grid @param {Theme} theme */
function drawBand(ctx, { axis, curve, ...box }, grid, theme) {
  ctx.fillStyle = theme.text;
  ctx.globalAlpha = FAINT.band;
  curve.low.forEach((low, e) => {
    const high = curve.high[e];
    if (!isPositive(high) || low === null || low === high) return;
    const [top, bottom] = [yOf(axis, box, high), yOf(axis, box, low)];
    ctx.fillRect(grid.x + e * grid.cellWidth, top, Math.max(grid.cellWidth - 1, 1), bottom - top);
  });
  ctx.globalAlpha = 1;
}

/** The line between evaluations, and on it a point in the colour of what its side of the threshold means.
 * @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {GridLayout} grid
 * @param {number[] | null} tried @param {Theme} theme */
function drawHeld(ctx, { axis, curve, ...box }, grid, tried, theme) {
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1;
  ctx.beginPath();
  curve.middle.forEach((value, e) => {
    if (!isPositive(value)) return;
    const [x, y] = [columnX(grid, e), yOf(axis, box, value)];
    if (isPositive(curve.middle[e - 1] ?? null)) ctx.lineTo(x, y);
    else ctx.moveTo(x, y);
  });
  ctx.stroke();
  const radius = Math.min(POINT, grid.cellWidth / 2);
  curve.middle.forEach((value, e) => {
    if (!isPositive(value)) return;
    const [x, y] = [columnX(grid, e), yOf(axis, box, value)];
    const above = value > ((tried ?? curve.threshold)[e] ?? 0);
    dotMark(ctx, x, y, radius + 1, theme.text);
    dotMark(ctx, x, y, radius, above ? theme.palette.computed : theme.palette.predicted);
  });
}

/** Rings where an error was measured.
 * @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {GridLayout} grid @param {Theme} theme */
function drawRealised(ctx, { axis, curve, ...box }, grid, theme) {
  curve.dots.forEach((value, e) => {
    if (!isPositive(value)) return;
    const [x, y] = [columnX(grid, e), yOf(axis, box, value)];
    dotMark(ctx, x, y, Math.min(POINT + 0.6, grid.cellWidth / 2 + 0.6), theme.text);
    dotMark(ctx, x, y, Math.min(POINT - 0.8, grid.cellWidth / 2 - 0.8), theme.ground);
  });
}

/** What held, and dashed what is tried: steps, as a threshold may change along the schedule.
 * @param {CanvasRenderingContext2D} ctx @param {CurveLayout} layout @param {GridLayout} grid
 * @param {number[] | null} tried @param {Theme} theme */
function drawThreshold(ctx, { axis, curve, ...box }, grid, tried, theme) {
  ctx.fillStyle = theme.text;
  curve.threshold.forEach((value, e) => {
    if (!isPositive(value)) return;
    ctx.fillRect(grid.x + e * grid.cellWidth, yOf(axis, box, value) - 0.75, grid.cellWidth, 1.5);
  });
  if (tried === null) return;
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 2;
  ctx.setLineDash([5, 3]);
  ctx.beginPath();
  tried.forEach((value, e) => {
    if (!isPositive(value)) return;
    const [x, y] = [grid.x + e * grid.cellWidth, yOf(axis, box, value)];
    if (isPositive(tried[e - 1] ?? null)) ctx.lineTo(x, y);
    else ctx.moveTo(x, y);
    ctx.lineTo(x + grid.cellWidth, y);
  });
  ctx.stroke();
  ctx.setLineDash([]);
}

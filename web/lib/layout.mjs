// @ts-check
/**
 * Where everything of the map lies, in CSS pixels. No DOM, no drawing.
 *
 * Where there is little room, the curve goes first, then the legend; the grid and the token map shrink.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./curve.mjs").Curve} Curve
 * @typedef {{ x: number, y: number, width: number, height: number }} Box
 * @typedef {Box & { cellWidth: number, cellHeight: number, rows: number[], ticks: number[], reserved: number,
 *   labels: { text: string, y: number, height: number }[] }} GridLayout `rows`: y of every block; `ticks`: evaluations;
 *   `reserved`: the width with evaluations that are to come
 * @typedef {Box & { captionY: number, curve: Curve, axis: import("./curve.mjs").Axis,
 *   ticks: { value: number, y: number }[] }} CurveLayout
 * @typedef {{ x: number, y: number, sample: number, frame: number }} Tile
 * @typedef {Box & { cell: number, tiles: Tile[], shown: string, captionY: number }} TokenLayout `shown`: what tiles are
 * @typedef {{ legend: boolean, grid: GridLayout, curve: CurveLayout | null, tokens: TokenLayout | null }} MapLayout
 * @typedef {{ frame: number, mode: import("./curve.mjs").Mode, columns?: number }} View what is to be seen of a report;
 *   `columns`: to leave room for, where more evaluations are to come
 */
import { axisOf, axisTicks, curveOf } from "./curve.mjs";

export const AXIS = 20;
const LEGEND = 22;
const LEGEND_FROM = 130;
const CAPTION = 18;
const GAP = 12;
const GROUP_GAP = 4;
const TILE_GAP = 6;
const CHARACTER = 6.2;
const LINE = 14;
const MAX_CELL = { width: 40, height: 24, token: 32 };
const LEAST = { grid: 56, curve: 40, cell: 2 };
const MOST = { curve: 240 };
/** Parts of the height that the curve gets, and of width or height that the grid gets beside or above the tokens. */
const SHARE = { curve: 0.36, beside: 0.62, above: 0.62 };
/** Above the curve: its caption; below: half a label. */
const CURVE_MARGIN = { above: CAPTION + 4, below: 5 };

/**
 * @param {SkipReport} report
 * @param {number} width of the canvas
 * @param {number} height
 * @param {View} view
 * @returns {MapLayout}
 */
export function layoutMap(report, width, height, { frame, mode, columns = 0 }) {
  const legend = height >= LEGEND_FROM;
  const top = legend ? LEGEND : 4;
  const stacked = height > 0.75 * width;
  const both = report.tokens !== null;
  const area = { x: 0, y: top, width, height: height - top };
  const left = {
    ...area,
    width: both && !stacked ? Math.floor(SHARE.beside * width) : width,
    height: both && stacked ? Math.floor(SHARE.above * area.height) : area.height,
  };
  const { grid, curve, bottom } = layoutGridAndCurve(report, left, curveOf(report, mode), columns);
  if (!report.tokens) return { legend, grid, curve, tokens: null };
  const x = stacked ? grid.x : grid.x + grid.reserved + GAP;
  const captionY = stacked ? bottom + GAP : grid.y;
  const y = captionY + CAPTION;
  const room = { x, y, width: width - x - 1, height: height - y - 1 };
  const tokens = { ...layoutTokens(report.tokens, room, frame), captionY };
  return { legend, grid, curve, tokens };
}

/** The curve lies close under the grid, which may need less than its part.
 * @param {SkipReport} report @param {Box} area @param {Curve | null} curve @param {number} columns
 * @returns {{ grid: GridLayout, curve: CurveLayout | null, bottom: number }} */
function layoutGridAndCurve(report, area, curve, columns) {
  const margins = CURVE_MARGIN.above + CURVE_MARGIN.below;
  const wanted = Math.min(Math.max(SHARE.curve * area.height - margins, LEAST.curve), MOST.curve);
  const room = area.height - AXIS - LEAST.grid >= LEAST.curve + margins;
  const below = AXIS + (curve && room ? wanted + margins : 0);
  const grid = layoutGrid(report, { ...area, height: area.height - below }, columns);
  const end = grid.y + grid.height + AXIS;
  if (!curve || !room) return { grid, curve: null, bottom: end };
  const y = end + CURVE_MARGIN.above;
  const height = Math.floor(Math.min(area.y + area.height - CURVE_MARGIN.below - y, MOST.curve));
  return { grid, curve: layoutCurve(curve, { x: grid.x, y, width: grid.reserved, height }), bottom: y + height };
}

/** @param {Curve} curve @param {Box} box @returns {CurveLayout} */
function layoutCurve(curve, box) {
  const axis = axisOf(curve);
  return { ...box, captionY: box.y - CAPTION, curve, axis, ticks: axisTicks(axis, box, LINE) };
}

/**
 * @param {SkipReport} report
 * @param {Box} area
 * @param {number} columns at least
 * @returns {GridLayout}
 */
function layoutGrid(report, area, columns) {
  const longest = Math.max(...report.groups.map((group) => group.label.length), "evaluation".length);
  const gutter = Math.min(Math.ceil(longest * CHARACTER) + 12, 0.35 * area.width);
  const gaps = GROUP_GAP * Math.max(report.groups.length - 1, 0);
  const across = Math.max(report.evaluations, columns);
  const cellWidth = cellSize(area.width - gutter - 1, across, MAX_CELL.width);
  const cellHeight = cellSize(area.height - gaps, report.blocks.length, MAX_CELL.height);
  const x = Math.ceil(gutter);
  const rows = [];
  const labels = [];
  for (const [number, group] of report.groups.entries()) {
    const y = area.y + group.first * cellHeight + number * GROUP_GAP;
    for (let i = 0; i < group.count; i++) rows.push(y + i * cellHeight);
    labels.push({ text: group.label, y, height: group.count * cellHeight });
  }
  const size = { width: report.evaluations * cellWidth, height: report.blocks.length * cellHeight + gaps };
  const marks = { rows, labels, ticks: ticks(report.evaluations, cellWidth), reserved: across * cellWidth };
  return { x, y: area.y, ...size, cellWidth, cellHeight, ...marks };
}

/**
 * @param {import("./report.mjs").TokenMaps} tokens
 * @param {Box} area
 * @param {number} frame
 */
function layoutTokens(tokens, area, frame) {
  const { shown, tiles } = chooseTiles(tokens, area, Math.min(frame, tokens.frames - 1));
  const { columns, cell } = pack(tiles.length, tokens.width, tokens.height, area);
  const stepX = tokens.width * cell + TILE_GAP;
  const stepY = tokens.height * cell + TILE_GAP;
  const placed = tiles.map((tile, i) => ({
    ...tile,
    x: area.x + (i % columns) * stepX,
    y: area.y + Math.floor(i / columns) * stepY,
  }));
  return { ...area, cell, tiles: placed, shown };
}

/** One frame of all samples if they can be told apart, else of the first one alone.
 * @param {import("./report.mjs").TokenMaps} tokens @param {Box} area @param {number} frame */
function chooseTiles({ samples, frames, width, height }, area, frame) {
  const fits = samples === 1 || pack(samples, width, height, area).cell >= LEAST.cell;
  const batch = samples > 1 ? [fits ? `${samples} samples` : `first of ${samples} samples`] : [];
  const video = frames > 1 ? [`frame ${frame + 1} of ${frames}`] : [];
  const tiles = Array.from({ length: fits ? samples : 1 }, (_, sample) => ({ sample, frame }));
  return { shown: [...batch, ...video].join(", "), tiles };
}

/** The number of columns that gives the largest cells.
 * @param {number} count @param {number} width @param {number} height of a tile in tokens @param {Box} area */
function pack(count, width, height, area) {
  let best = { columns: 1, cell: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (area.width - (columns - 1) * TILE_GAP) / (columns * width);
    const down = (area.height - (rows - 1) * TILE_GAP) / (rows * height);
    const cell = halfPixels(Math.min(across, down, MAX_CELL.token));
    if (cell > best.cell) best = { columns, cell };
  }
  return best;
}

/** @param {number} length @param {number} count @param {number} limit @returns {number} */
function cellSize(length, count, limit) {
  return count === 0 ? 0 : wholePixels(Math.min(length / count, limit));
}

/** Whole pixels keep all cells equal; only maps finer than the pixels need fractions.
 * @param {number} size @returns {number} */
function wholePixels(size) {
  return size >= 1 ? Math.floor(size) : Math.max(size, 0);
}

/** Small tokens may take half pixels, of which the canvas has at least one.
 * @param {number} size @returns {number} */
function halfPixels(size) {
  return size >= 2 && size < 6 ? Math.floor(2 * size) / 2 : wholePixels(size);
}

/** Evaluations (from 0) to label: the first, then round numbers, with room for the digits.
 * @param {number} evaluations @param {number} cellWidth @returns {number[]} */
function ticks(evaluations, cellWidth) {
  const room = 4 + CHARACTER * String(evaluations).length;
  const step = [1, 5, 10, 20, 50, 100, 200, 500].find((n) => n * cellWidth >= room) ?? 1000;
  return Array.from({ length: evaluations }, (_, i) => i).filter((i) => i === 0 || (i + 1) % step === 0);
}

/**
 * Where the parts of a cell lie that are drawn apart, one a branch, side by side.
 * @param {GridLayout} grid
 * @param {number} evaluation
 * @param {number} block
 * @param {number} parts
 * @returns {Box[]}
 */
export function cellParts(grid, evaluation, block, parts) {
  const width = grid.cellWidth / parts;
  const x = grid.x + evaluation * grid.cellWidth;
  return Array.from({ length: parts }, (_, i) => ({
    x: x + i * width, y: grid.rows[block], width, height: grid.cellHeight,
  }));
}

/** @param {GridLayout} grid @param {number} evaluation @returns {number} x of the middle of its column */
export function columnX(grid, evaluation) {
  return grid.x + (evaluation + 0.5) * grid.cellWidth;
}

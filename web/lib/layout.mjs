// @ts-check
/**
 * Where everything of the map lies, in CSS pixels, and what lies under a point. No DOM, no drawing.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {{ x: number, y: number, width: number, height: number }} Box
 * @typedef {Box & { cellWidth: number, cellHeight: number, rows: number[], ticks: number[],
 *   labels: { text: string, y: number, height: number }[] }} GridLayout `rows`: y of every block; `ticks`: evaluations
 * @typedef {{ x: number, y: number, sample: number, frame: number }} Tile
 * @typedef {Box & { cell: number, tiles: Tile[], shown: string }} TokenLayout `shown`: what the tiles are
 * @typedef {{ grid: GridLayout, tokens: TokenLayout | null, captionY: number }} MapLayout
 * @typedef {{ evaluation: number, block: number }} GridHit
 * @typedef {{ sample: number, frame: number, row: number, column: number }} TokenHit
 */

const LEGEND = 22;
const AXIS = 20;
const CAPTION = 18;
const GAP = 12;
const GROUP_GAP = 4;
const TILE_GAP = 6;
const CHARACTER = 6.2;
const MAX_CELL = { width: 40, height: 18, token: 16 };

/**
 * @param {SkipReport} report
 * @param {number} width of the canvas
 * @param {number} height
 * @returns {MapLayout}
 */
export function layoutMap(report, width, height) {
  const stacked = height > 0.75 * width;
  const both = report.tokens !== null;
  const area = { x: 0, y: LEGEND, width, height: height - LEGEND };
  const gridArea = {
    ...area,
    width: both && !stacked ? Math.floor(0.62 * width) : width,
    height: (both && stacked ? Math.floor(0.56 * area.height) : area.height) - AXIS,
  };
  const grid = layoutGrid(report, gridArea);
  if (!report.tokens) return { grid, tokens: null, captionY: 0 };
  const x = stacked ? grid.x : grid.x + grid.width + GAP;
  const captionY = stacked ? grid.y + grid.height + AXIS + GAP : grid.y;
  const y = captionY + CAPTION;
  const tokens = layoutTokens(report.tokens, { x, y, width: width - x - 1, height: height - y - 1 });
  return { grid, tokens, captionY };
}

/**
 * @param {SkipReport} report
 * @param {Box} area
 * @returns {GridLayout}
 */
function layoutGrid(report, area) {
  const longest = Math.max(...report.groups.map((group) => group.label.length), "evaluation".length);
  const gutter = Math.min(Math.ceil(longest * CHARACTER) + 12, 0.35 * area.width);
  const gaps = GROUP_GAP * Math.max(report.groups.length - 1, 0);
  const cellWidth = cellSize(area.width - gutter - 1, report.evaluations, MAX_CELL.width);
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
  return { x, y: area.y, ...size, cellWidth, cellHeight, rows, labels, ticks: ticks(report.evaluations, cellWidth) };
}

/**
 * @param {import("./report.mjs").TokenMaps} tokens
 * @param {Box} area
 * @returns {TokenLayout}
 */
function layoutTokens(tokens, area) {
  const { shown, tiles } = chooseTiles(tokens, area);
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

/** All samples and frames if they can be told apart, else the first frames, else the first map alone.
 * @param {import("./report.mjs").TokenMaps} tokens @param {Box} area */
function chooseTiles({ samples, frames, width, height }, area) {
  const batch = samples > 1 ? [`${samples} samples`] : [];
  const video = frames > 1 ? [`${frames} frames`] : [];
  const all = { shown: [...batch, ...video].join(", "), tiles: pairs(samples, frames) };
  const first = { shown: [...batch, `first of ${frames} frames`].join(", "), tiles: pairs(samples, 1) };
  const one = { shown: `first of ${all.shown}`, tiles: pairs(1, 1) };
  const choices = [all, ...(frames > 1 ? [first] : []), ...(samples > 1 ? [one] : [])];
  return choices.find(({ tiles }) => pack(tiles.length, width, height, area).cell >= 2) ?? choices[choices.length - 1];
}

/** @param {number} samples @param {number} frames */
function pairs(samples, frames) {
  return Array.from({ length: samples * frames }, (_, i) => ({ sample: Math.floor(i / frames), frame: i % frames }));
}

/** The number of columns that gives the largest cells.
 * @param {number} count @param {number} width @param {number} height of a tile in tokens @param {Box} area */
function pack(count, width, height, area) {
  let best = { columns: 1, cell: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (area.width - (columns - 1) * TILE_GAP) / (columns * width);
    const down = (area.height - (rows - 1) * TILE_GAP) / (rows * height);
    const cell = wholePixels(Math.min(across, down, MAX_CELL.token));
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

/** Evaluations (from 0) to label: the first, then round numbers, with room for the digits.
 * @param {number} evaluations @param {number} cellWidth @returns {number[]} */
function ticks(evaluations, cellWidth) {
  const room = 4 + CHARACTER * String(evaluations).length;
  const step = [1, 5, 10, 20, 50, 100, 200, 500].find((n) => n * cellWidth >= room) ?? 1000;
  return Array.from({ length: evaluations }, (_, i) => i).filter((i) => i === 0 || (i + 1) % step === 0);
}

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
 * @returns {number | null} the evaluation whose column (or number below it) is under a point
 */
export function columnHit({ grid }, x, y) {
  const inside = x >= grid.x && x < grid.x + grid.width && y >= grid.y && y < grid.y + grid.height + AXIS;
  return inside ? Math.floor((x - grid.x) / grid.cellWidth) : null;
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

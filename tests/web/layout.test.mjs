// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { columnHit, gridHit, layoutMap, tokenHit } from "../../web/lib/layout.mjs";
import { readReport } from "../../web/lib/report.mjs";
import { sample } from "./sample.mjs";

const SIZES = [[400, 320], [420, 160], [300, 140], [1200, 700]];

/** @param {number} blocks @param {number} evaluations @param {number[]} grid @param {number} samples */
function large(blocks, evaluations, grid, samples) {
  const count = grid.reduce((product, n) => product * n, samples);
  const mask = btoa("\xaa".repeat(Math.ceil(count / 8)));
  return readReport({
    ...sample(),
    blocks: Array.from({ length: blocks }, (_, i) => `double ${i}`),
    computed: Array.from({ length: evaluations }, () => Array(blocks).fill(1)),
    tokens: { grid, samples, computed: Array(evaluations).fill(mask) },
  });
}

const REPORTS = [
  readReport(sample()),
  large(57, 50, [1, 64, 64], 1),
  large(30, 30, [21, 45, 80], 2),
  large(1, 1, [1, 1, 1], 1),
];

test("everything lies inside the canvas, and the parts do not overlap", () => {
  for (const report of REPORTS) {
    for (const [width, height] of SIZES) {
      const { grid, tokens } = layoutMap(report, width, height);
      assert.ok(grid.x + grid.width <= width && grid.y + grid.height + 20 <= height, `grid in ${width} x ${height}`);
      assert.ok(tokens && report.tokens && tokens.tiles.length > 0);
      for (const tile of tokens.tiles) {
        assert.ok(tile.x + report.tokens.width * tokens.cell <= width, `tile in width ${width}`);
        assert.ok(tile.y + report.tokens.height * tokens.cell <= height, `tile in height ${height}`);
        assert.ok(tile.x > grid.x + grid.width || tile.y > grid.y + grid.height + 20, "tile beside or below the grid");
      }
    }
  }
});

test("the centre of every cell hits that cell, and the gap between groups hits none", () => {
  const report = readReport(sample());
  const layout = layoutMap(report, 400, 320);
  const { grid } = layout;
  grid.rows.forEach((y, block) => {
    const hit = gridHit(layout, grid.x + 1.5 * grid.cellWidth, y + grid.cellHeight / 2);
    assert.deepEqual(hit, { evaluation: 1, block });
  });
  assert.equal(gridHit(layout, grid.x + 1, grid.rows[2] - 1), null);
  assert.equal(gridHit(layout, grid.x - 1, grid.rows[0] + 1), null);
});

test("a column is hit in its cells, its gaps and its number on the axis", () => {
  const layout = layoutMap(readReport(sample()), 400, 320);
  const { grid } = layout;
  for (const y of [grid.y, grid.rows[2] - 1, grid.y + grid.height + 10]) {
    assert.equal(columnHit(layout, grid.x + grid.width - 1, y), 1);
  }
  assert.equal(columnHit(layout, grid.x + grid.width + 1, grid.y), null);
});

test("the centre of every token hits that token of that sample", () => {
  const report = readReport(sample());
  const layout = layoutMap(report, 400, 320);
  const tokens = layout.tokens;
  assert.ok(tokens);
  for (const { x, y, sample: number } of tokens.tiles) {
    const hit = tokenHit(layout, report.tokens, x + 2.5 * tokens.cell, y + 1.5 * tokens.cell);
    assert.deepEqual(hit, { sample: number, frame: 0, row: 1, column: 2 });
  }
  assert.equal(tokenHit(layout, report.tokens, tokens.tiles[0].x - 1, tokens.tiles[0].y), null);
});

test("frames that would be too small to read give way to the first frame, and the layout says so", () => {
  const report = large(4, 4, [21, 45, 80], 1);
  assert.equal(layoutMap(report, 1600, 1600).tokens?.shown, "21 frames");
  assert.equal(layoutMap(report, 400, 320).tokens?.shown, "first of 21 frames");
});

test("axis numbers start at the first evaluation and do not touch", () => {
  for (const report of REPORTS) {
    const { grid } = layoutMap(report, 400, 320);
    assert.equal(grid.ticks[0], 0);
    const between = grid.ticks.slice(2).map((tick, i) => (tick - grid.ticks[i + 1]) * grid.cellWidth);
    assert.ok(between.every((distance) => distance > 12));
  }
});

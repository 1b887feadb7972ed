// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { cellParts, layoutMap } from "../../web/lib/layout.mjs";
import { readReport } from "../../web/lib/report.mjs";
import { columnsToCome } from "../../web/lib/skip_map.mjs";
import { large, olderSample, sample } from "./sample.mjs";

const SIZES = [[400, 320], [420, 160], [300, 140], [282, 186], [282, 120], [286, 215], [1182, 790], [406, 446]];
/** @type {import("../../web/lib/layout.mjs").View} */
const VIEW = { frame: 0, mode: "blocks" };

const REPORTS = [
  sample(),
  olderSample(),
  large(57, 50, [1, 64, 64], 1),
  large(30, 30, [21, 45, 80], 2),
  large(1, 1, [1, 1, 1], 1),
  { ...large(12, 20, [1, 4, 4], 1), tokens: null },
].map(readReport);

test("evaluations to come have room, one a step or as many again", () => {
  const room = (/** @type {number} */ evaluations, /** @type {number | null} */ steps) =>
    columnsToCome({ ...REPORTS[0], evaluations, steps });
  assert.deepEqual([room(0, 20), room(20, 20), room(24, 20), room(5, null)], [20, 20, 40, 0]);
});

test("everything lies inside the canvas, and the parts do not overlap", () => {
  for (const report of REPORTS) {
    for (const [width, height] of SIZES) {
      const { grid, curve, tokens } = layoutMap(report, width, height, VIEW);
      const where = `${report.blocks.length} blocks in ${width} x ${height}`;
      const bottom = curve ? curve.y + curve.height : grid.y + grid.height + 20;
      assert.ok(grid.x + grid.width <= width && bottom <= height, where);
      assert.ok(grid.height > 0 && grid.width > 0, where);
      if (curve) {
        assert.deepEqual([curve.x, curve.width], [grid.x, grid.width], "the curve shares the grid's columns");
        assert.ok(curve.captionY >= grid.y + grid.height + 20 && curve.y >= curve.captionY + 14 && curve.height >= 40);
      }
      assert.equal(tokens === null, report.tokens === null);
      if (!tokens || !report.tokens) continue;
      assert.ok(tokens.tiles.length > 0);
      for (const tile of tokens.tiles) {
        assert.ok(tile.x + report.tokens.width * tokens.cell <= width, `tile of ${where}`);
        assert.ok(tile.y + report.tokens.height * tokens.cell <= height, `tile of ${where}`);
        assert.ok(tile.x > grid.x + grid.width || tile.y > bottom, "tile beside or below the grid");
      }
    }
  }
});

test("where there is little room the curve goes first, then the legend", () => {
  const report = readReport(sample());
  const parts = (/** @type {number} */ height) => {
    const { curve, legend } = layoutMap(report, 282, height, VIEW);
    return [curve !== null, legend];
  };
  assert.deepEqual([300, 215, 190, 150, 110].map(parts),
    [[true, true], [true, true], [true, true], [false, true], [false, false]]);
});

test("a report without the numbers of the curve has none", () => {
  assert.equal(layoutMap(readReport(olderSample()), 400, 600, VIEW).curve, null);
});

test("one frame of all samples is shown, if they can be told apart", () => {
  const report = readReport(large(4, 4, [21, 45, 80], 3));
  const shown = (/** @type {number} */ size, /** @type {number} */ frame) =>
    layoutMap(report, size, size, { ...VIEW, frame }).tokens;
  assert.equal(shown(1600, 4)?.shown, "3 samples, frame 5 of 21");
  assert.deepEqual(shown(1600, 4)?.tiles.map(({ sample, frame }) => [sample, frame]), [[0, 4], [1, 4], [2, 4]]);
  assert.equal(shown(300, 20)?.shown, "first of 3 samples, frame 21 of 21");
  assert.equal(shown(300, 99)?.tiles[0].frame, 20, "a frame of a longer video before");
});

test("room is left for the evaluations that are to come", () => {
  const report = readReport(sample());
  const { grid } = layoutMap(report, 400, 300, { ...VIEW, columns: 40 });
  assert.equal(grid.width, 2 * grid.cellWidth);
  assert.equal(grid.reserved, 40 * grid.cellWidth);
  assert.ok(grid.x + grid.reserved <= 400);
});

test("parts of a cell fill it side by side", () => {
  const { grid } = layoutMap(readReport(sample()), 400, 320, VIEW);
  const [cond, uncond] = cellParts(grid, 1, 2, 2);
  assert.equal(cond.x, grid.x + grid.cellWidth);
  assert.equal(uncond.x, cond.x + cond.width);
  assert.equal(uncond.x + uncond.width, grid.x + 2 * grid.cellWidth);
});

test("axis numbers start at the first evaluation and do not touch", () => {
  for (const report of REPORTS) {
    const { grid } = layoutMap(report, 400, 320, VIEW);
    assert.equal(grid.ticks[0], 0);
    const between = grid.ticks.slice(2).map((tick, i) => (tick - grid.ticks[i + 1]) * grid.cellWidth);
    assert.ok(between.every((distance) => distance > 12));
  }
});

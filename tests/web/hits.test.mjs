// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { columnHit, curveHit, gridHit, tokenHit } from "../../web/lib/hits.mjs";
import { layoutMap } from "../../web/lib/layout.mjs";
import { readReport } from "../../web/lib/report.mjs";
import { sample } from "./sample.mjs";

const report = readReport(sample());
const layout = layoutMap(report, 400, 320, { frame: 0, mode: "blocks" });
const { grid } = layout;

test("the centre of every cell hits that cell, and the gap between groups hits none", () => {
  grid.rows.forEach((y, block) => {
    const hit = gridHit(layout, grid.x + 1.5 * grid.cellWidth, y + grid.cellHeight / 2);
    assert.deepEqual(hit, { evaluation: 1, block });
  });
  assert.equal(gridHit(layout, grid.x + 1, grid.rows[2] - 1), null);
  assert.equal(gridHit(layout, grid.x - 1, grid.rows[0] + 1), null);
});

test("a column is hit in its cells, its gaps, its number on the axis and its part of the curve", () => {
  const { curve } = layout;
  assert.ok(curve);
  for (const y of [grid.y, grid.rows[2] - 1, grid.y + grid.height + 10, curve.y + curve.height - 1]) {
    assert.equal(columnHit(layout, grid.x + grid.width - 1, y), 1);
  }
  assert.equal(columnHit(layout, grid.x + grid.width + 1, grid.y), null);
  assert.equal(curveHit(layout, grid.x + 1, curve.y + 1), 0);
  assert.equal(curveHit(layout, grid.x + 1, curve.y - 1), null);
});

test("the centre of every token hits that token of that sample", () => {
  const tokens = layout.tokens;
  assert.ok(tokens);
  for (const { x, y, sample: number } of tokens.tiles) {
    const hit = tokenHit(layout, report.tokens, x + 2.5 * tokens.cell, y + 1.5 * tokens.cell);
    assert.deepEqual(hit, { sample: number, frame: 0, row: 1, column: 2 });
  }
  assert.equal(tokenHit(layout, report.tokens, tokens.tiles[0].x - 1, tokens.tiles[0].y), null);
});

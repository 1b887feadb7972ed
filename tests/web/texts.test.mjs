// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { readReport } from "../../web/lib/report.mjs";
import { shade } from "../../web/lib/palette.mjs";
import * as texts from "../../web/lib/texts.mjs";
import { sample } from "./sample.mjs";

const report = readReport(sample());

test("a cell is told with its evaluation, sigma, change and reason", () => {
  assert.equal(texts.cellText(report, 1, 0),
    "evaluation 2 of 2 (sigma 0.412), double 0: predicted, change 0.031, expected error 0.051; Below the threshold.");
  assert.equal(texts.cellText(report, 1, 1),
    "evaluation 2 of 2 (sigma 0.412), double 1: partial, 50 % of tokens computed, change 0.07, " +
    "a prediction would have been off by 0.012; Some tokens changed.");
  assert.equal(texts.cellText(report, 1, 2), "evaluation 2 of 2 (sigma 0.412), single 0: predicted, change 0.02");
});

test("a token is told with row and column from 1, and its sample where there are several", () => {
  assert.equal(texts.tokenText(report, 1, { sample: 0, frame: 0, row: 0, column: 0 }),
    "sample 1, token row 1, column 1: computed");
  assert.equal(texts.tokenText(report, 1, { sample: 1, frame: 0, row: 1, column: 1 }),
    "sample 2, token row 2, column 2: predicted");
});

test("the totals are one line", () => {
  assert.equal(texts.totalsText(report),
    "52 % of block work computed, 2 evaluations, 3.41 s (overhead 0.02 s), cache 12.4 MB");
  assert.equal(texts.megabytes(2_345_000_000), "2.35 GB");
});

test("an evaluation is summed up in blocks and in tokens", () => {
  assert.equal(texts.evaluationText(report, 1), "evaluation 2 of 2 (sigma 0.412): 1 partial, 2 predicted of 3 blocks");
  assert.deepEqual(texts.tokensTexts(report, 1, "2 samples"), [
    "tokens at evaluation 2: 42 % computed (2 samples)",
    "tokens at evaluation 2: 42 % computed",
    "tokens: 42 % computed",
  ]);
  assert.match(texts.summaryText(report, 1), /^Skip map of 3 blocks by 2 evaluations: 52 % .* Selected: evaluation 2/);
});

test("percentages never round something to nothing or to everything", () => {
  assert.deepEqual([0, 0.001, 0.125, 0.999, 1].map(texts.percent), ["0 %", "< 1 %", "13 %", "> 99 %", "100 %"]);
});

test("shades run from predicted to computed", () => {
  assert.equal(shade(0), "rgb(39, 82, 127)");
  assert.equal(shade(1), "rgb(242, 177, 52)");
});

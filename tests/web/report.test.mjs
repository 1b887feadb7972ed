// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeBits, groupBlocks, readReport } from "../../web/lib/report.mjs";
import { olderSample, sample } from "./sample.mjs";

const ADDED = /** @type {const} */ (["thresholds", "step", "forced", "size", "work", "imageShare", "computedByBranch",
  "ownThresholds", "saliency", "alpha"]);

test("bits come most significant first and padding is ignored", () => {
  assert.deepEqual([...decodeBits(btoa("\x8a\x50"), 12)], [1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
});

test("consecutive blocks of one kind form a range", () => {
  const groups = groupBlocks(["double 0", "double 1", "single 0", "final", "single 7"]);
  assert.deepEqual(groups.map((group) => group.label), ["double 0-1", "single 0", "final", "single 7"]);
  assert.deepEqual(groups.map(({ first, count }) => [first, count]), [[0, 2], [2, 1], [3, 1], [4, 1]]);
});

test("reasons are resolved to their sentences", () => {
  const report = readReport(sample());
  assert.deepEqual(report.reasons[1],
    ["predicted: sum of expected errors within 0.05", "computed: some tokens changed", null]);
  assert.deepEqual(report.forced, ["computed: warm-up", null]);
});

test("a report without evaluations has no token maps", () => {
  const empty = { ...sample(), blocks: [], computed: [], tokens: { grid: [0, 0, 0], samples: 0, computed: [] } };
  assert.equal(readReport(empty).tokens, null);
  assert.equal(readReport(empty).evaluations, 0);
});

test("what decisions rested on is read", () => {
  const branches = { cond: [[1, 1, 1], [1, 1, 0]], uncond: [[1, 1, 1], [0, 0, 0]] };
  const report = readReport({ ...sample(), computed_by_branch: branches });
  assert.deepEqual([report.rule, report.steps, report.samplesRun, report.blockThreshold, report.tokenThreshold],
    ["significance", 2, 2, 0.05, 0.02]);
  assert.deepEqual([report.alpha, report.alphaQuantile, report.maxConsecutiveSkips], [0.5, 0, 3]);
  assert.deepEqual([report.minActive, report.maxActive, report.refreshInterval], [0, 1, 6]);
  assert.deepEqual(report.sites, [[0, 0], [1, 1], [2, 2]]);
  assert.deepEqual(report.branches, ["cond", "uncond"]);
  assert.deepEqual(report.thresholds, { block: [0.05, 0.05], token: [0.02, 0.02] });
  assert.deepEqual([report.step, report.work], [[null, 0.04], [0.4, 0.4, 0.2]]);
  assert.deepEqual(report.size, [[2, 1, 1], [null, 1, null]]);
  assert.deepEqual(report.computedByBranch, branches);
  assert.equal(report.saliency?.values[0], null);
  assert.deepEqual([...(report.saliency?.values[1] ?? [])].slice(0, 2), [0x90, 0x70]);
});

test("an older report reads as one that lacks them", () => {
  const report = readReport(olderSample());
  for (const key of [...ADDED, /** @type {const} */ ("rule"), /** @type {const} */ ("sites")]) {
    assert.equal(report[key], null, key);
  }
});

test("malformed additions read as missing, and the rest of the report is shown", () => {
  const { run, tokens } = sample();
  const wrong = [1, "x", null, [], [1], {}, [["x"]], [[9, 9]], { block: [1], token: "x" }, { cond: 1 }, NaN];
  for (const value of wrong) {
    const report = readReport({
      ...sample(), thresholds: value, step: value, forced: value, size: value, work: value, image_share: value,
      computed_by_branch: value,
      run: { ...run, own_thresholds: value, alpha: [value], steps: [value], rule: [value] },
      tokens: { ...tokens, saliency: value },
    });
    for (const key of ADDED) assert.equal(report[key], null, `${key}: ${JSON.stringify(value)}`);
    assert.equal(report.evaluations, 2);
  }
  for (const sites of [1, [1], [[1]], [[0, 9]], [[1, 0]], [["0", 1]]]) {
    assert.equal(readReport({ ...sample(), run: { ...run, sites } }).sites, null);
  }
  const bad = { threshold: 0.02, scale: 16, values: [btoa("short"), "*"] };
  assert.deepEqual(readReport({ ...sample(), tokens: { ...tokens, saliency: bad } }).saliency?.values, [null, null]);
  const both = { cond: sample().computed, uncond: [[1, 1, 1], [0, 2, 0]] };
  assert.equal(readReport({ ...sample(), computed_by_branch: both }).computedByBranch, null);
});

test("what cannot be read is explained in a sentence", () => {
  const cases = [
    [null, /not an object/],
    [{ ...sample(), schema: "fastcache.report/2" }, /schema "fastcache.report\/2"; this preview reads/],
    [{ ...sample(), blocks: [1] }, /`blocks` is not a list of texts/],
    [{ ...sample(), computed: [[1]] }, /Evaluation 1 .* does not have one number for each of 3 blocks/],
    [{ ...sample(), computed: [[1, 1, 2]] }, /not between 0 and 1/],
    [{ ...sample(), tokens: { ...sample().tokens, computed: ["", ""] } }, /0 bytes where 12 bits were due/],
    [{ ...sample(), tokens: { ...sample().tokens, computed: ["*", "*"] } }, /not base64/],
    [{ ...sample(), tokens: { ...sample().tokens, computed: ["abcde", "abcde"] } }, /not base64/],
    [{ ...sample(), tokens: { ...sample().tokens, grid: [2, 3] } }, /not three whole numbers/],
    [{ ...sample(), tokens: { ...sample().tokens, grid: 5 } }, /not three whole numbers/],
    [{ ...sample(), tokens: { ...sample().tokens, computed: "AA" } }, /`tokens.computed` is not a list/],
    [{ ...sample(), seconds: null }, /`seconds.total` is not a number/],
  ];
  for (const [report, message] of cases) assert.throws(() => readReport(report), /** @type {RegExp} */ (message));
});

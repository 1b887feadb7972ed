// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeBits, groupBlocks, readReport } from "../../web/lib/report.mjs";
import { sample } from "./sample.mjs";

test("bits come most significant first and padding is ignored", () => {
  assert.deepEqual([...decodeBits(btoa("\x8a\x50"), 12)], [1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
});

test("consecutive blocks of one kind form a range", () => {
  const groups = groupBlocks(["double 0", "double 1", "single 0", "final", "single 7"]);
  assert.deepEqual(groups.map((group) => group.label), ["double 0-1", "single 0", "final", "single 7"]);
  assert.deepEqual(groups.map(({ first, count }) => [first, count]), [[0, 2], [2, 1], [3, 1], [4, 1]]);
});

test("reasons are resolved to their sentences", () => {
  assert.deepEqual(readReport(sample()).reasons[1], ["Below the threshold.", "Some tokens changed.", null]);
});

test("a report without evaluations has no token maps", () => {
  const empty = { ...sample(), blocks: [], computed: [], tokens: { grid: [0, 0, 0], samples: 0, computed: [] } };
  assert.equal(readReport(empty).tokens, null);
  assert.equal(readReport(empty).evaluations, 0);
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
    [{ ...sample(), tokens: { ...sample().tokens, grid: [2, 3] } }, /not three whole numbers/],
    [{ ...sample(), seconds: null }, /`seconds.total` is not a number/],
  ];
  for (const [report, message] of cases) assert.throws(() => readReport(report), /** @type {RegExp} */ (message));
});

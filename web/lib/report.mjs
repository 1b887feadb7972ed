// @ts-check
/**
 * Reads a report (docs/report.md) into what the map is drawn from, or says in a sentence why it cannot.
 *
 * @typedef {{ label: string, first: number, count: number }} BlockGroup
 * @typedef {{ frames: number, height: number, width: number, samples: number, masks: Uint8Array[] }} TokenMaps
 * @typedef {object} Required
 * @property {string[]} blocks
 * @property {BlockGroup[]} groups consecutive blocks of one kind
 * @property {number} evaluations
 * @property {number[][]} computed [evaluations][blocks], fraction of tokens the block computed
 * @property {(number | null)[][]} change
 * @property {(number | null)[][]} errorExpected
 * @property {(number | null)[][]} errorRealised
 * @property {(string | null)[][]} reasons
 * @property {(number | null)[]} sigmas
 * @property {TokenMaps | null} tokens one mask an evaluation: sample, frame, row, column
 * @property {string[]} notes
 * @property {number} seconds
 * @property {number} overheadSeconds
 * @property {number} cacheBytes
 * @property {number} computedFraction
 *
 * @typedef {Required & import("./additions.mjs").Additions} SkipReport
 */
import { BASE64, readAdditions } from "./additions.mjs";

export const SCHEMA = "fastcache.report/1";

/**
 * @param {any} value the parsed JSON
 * @returns {SkipReport}
 * @throws {Error} whose message is a sentence for the user
 */
export function readReport(value) {
  expect(value !== null && typeof value === "object" && !Array.isArray(value), "The report is not an object.");
  expect(value.schema === SCHEMA, `The report has the schema ${quoted(value.schema)}; this preview reads "${SCHEMA}".`);
  const blocks = strings(value.blocks, "blocks");
  const computed = fractions(value.computed, blocks.length);
  const evaluations = computed.length;
  const reasonTexts = strings(value.reason_texts ?? [], "reason_texts");
  const reasons = optionalRows(value.reasons, evaluations);
  const tokens = readTokens(value.tokens, evaluations);
  return {
    ...readAdditions(value, evaluations, blocks.length, tokens?.masks[0].length ?? 0),
    blocks,
    groups: groupBlocks(blocks),
    evaluations,
    computed,
    change: optionalRows(value.change, evaluations),
    errorExpected: optionalRows(value.error_expected, evaluations),
    errorRealised: optionalRows(value.error_realised, evaluations),
    reasons: reasons.map((row) => row.map((index) => (index === null ? null : (reasonTexts[index] ?? null)))),
    sigmas: optionalRows([value.run?.sigmas ?? []], 1)[0],
    tokens,
    notes: strings(value.notes ?? [], "notes"),
    seconds: number(value.seconds?.total, "seconds.total"),
    overheadSeconds: number(value.seconds?.overhead, "seconds.overhead"),
    cacheBytes: number(value.cache_bytes_peak, "cache_bytes_peak"),
    computedFraction: number(value.computed_fraction, "computed_fraction"),
  };
}

/**
 * Unpack bits, most significant first.
 * @param {string} base64
 * @param {number} count bits to read; the padding after them is ignored
 * @returns {Uint8Array} one 0 or 1 a bit
 */
export function decodeBits(base64, count) {
  const bytes = atob(base64);
  expect(bytes.length === Math.ceil(count / 8), `A token mask has ${bytes.length} bytes where ${count} bits were due.`);
  return Uint8Array.from({ length: count }, (_, i) => (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1);
}

/**
 * Group consecutive blocks of one kind, so that "double 0" to "double 3" become "double 0-3".
 * @param {string[]} blocks
 * @returns {BlockGroup[]}
 */
export function groupBlocks(blocks) {
  /** @type {{ kind: string, first: number, numbers: string[] }[]} */
  const runs = [];
  blocks.forEach((name, first) => {
    const [, kind, index] = /^(.*?)\s*(\d*)$/.exec(name) ?? ["", name, ""];
    if (runs.at(-1)?.kind === kind) runs.at(-1)?.numbers.push(index);
    else runs.push({ kind, first, numbers: [index] });
  });
  return runs.map(({ kind, first, numbers }) => {
    const range = numbers.length > 1 ? `${numbers[0]}-${numbers.at(-1)}` : numbers[0];
    return { label: `${kind} ${range}`.trim(), first, count: numbers.length };
  });
}

/** @param {any} tokens @param {number} evaluations @returns {TokenMaps | null} */
function readTokens(tokens, evaluations) {
  const masks = tokens?.computed ?? [];
  expect(Array.isArray(masks), "The report's `tokens.computed` is not a list.");
  if (masks.length === 0 || evaluations === 0) return null;
  expect(masks.length === evaluations, `The report has ${masks.length} token masks for ${evaluations} evaluations.`);
  const shape = [tokens.grid, tokens.samples].flat();
  expect(shape.length === 4 && shape.every((size) => Number.isInteger(size) && size >= 0),
    "The report's token grid is not three whole numbers with a number of samples.");
  const [frames, height, width, samples] = shape;
  const count = samples * frames * height * width;
  if (count === 0) return null;
  return { frames, height, width, samples, masks: masks.map((/** @type {any} */ mask) => decodeMask(mask, count)) };
}

/** @param {any} mask @param {number} count @returns {Uint8Array} */
function decodeMask(mask, count) {
  expect(typeof mask === "string" && mask.length % 4 === 0 && BASE64.test(mask),
    "A token mask of the report is not base64.");
  return decodeBits(mask, count);
}

/** @param {any} rows @param {number} blocks @returns {number[][]} */
function fractions(rows, blocks) {
  expect(Array.isArray(rows), "The report's `computed` is not a list.");
  for (const [evaluation, row] of rows.entries()) {
    expect(Array.isArray(row) && row.length === blocks,
      `Evaluation ${evaluation + 1} of the report does not have one number for each of ${blocks} blocks.`);
    expect(row.every((/** @type {unknown} */ f) => typeof f === "number" && f >= 0 && f <= 1),
      `Evaluation ${evaluation + 1} of the report has a fraction that is not between 0 and 1.`);
  }
  return rows;
}

/** Rows that may be missing, short or hold null: whatever is not a finite number reads as null.
 * @param {any} rows @param {number} evaluations @returns {(number | null)[][]} */
function optionalRows(rows, evaluations) {
  const all = Array.isArray(rows) ? rows : [];
  return Array.from({ length: evaluations }, (_, i) =>
    (Array.isArray(all[i]) ? all[i] : []).map((/** @type {any} */ x) => (Number.isFinite(x) ? x : null)));
}

/** @param {any} value @param {string} key @returns {string[]} */
function strings(value, key) {
  expect(Array.isArray(value) && value.every((item) => typeof item === "string"),
    `The report's \`${key}\` is not a list of texts.`);
  return value;
}

/** @param {any} value @param {string} key @returns {number} */
function number(value, key) {
  expect(Number.isFinite(value), `The report's \`${key}\` is not a number.`);
  return value;
}

/** @param {any} value @returns {string} */
function quoted(value) {
  return typeof value === "string" ? `"${value.slice(0, 60)}"` : String(value);
}

/** @param {boolean} condition @param {string} sentence */
function expect(condition, sentence) {
  if (!condition) throw new Error(sentence);
}

// @ts-check
/**
 * Reads the parts of a report that older ones lack. Whatever is missing or malformed reads as null, so that the rest of
 * the report can still be shown.
 *
 * @typedef {(number | null)[]} Row
 * @typedef {{ scale: number, thresholds: Row, values: (Uint8Array | null)[] }} Saliency one byte a token: b stands for
 *   the evaluation's threshold * exp((b - 127.5) / scale), 0 for none
 * @typedef {object} Additions
 * @property {string | null} rule
 * @property {string | null} level
 * @property {string | null} predictor
 * @property {string[]} branches
 * @property {number | null} steps of the schedule
 * @property {number | null} samplesRun batch size
 * @property {number | null} blockThreshold
 * @property {number | null} tokenThreshold
 * @property {number | null} alpha
 * @property {number | null} alphaQuantile
 * @property {number | null} maxConsecutiveSkips
 * @property {number | null} minActive
 * @property {number | null} maxActive
 * @property {number | null} refreshInterval
 * @property {number | null} tokenWarmup in so many evaluations no token rests
 * @property {[number, number][] | null} sites first and last block of what is decided about at once
 * @property {Row | null} ownThresholds [blocks], null where the general threshold holds
 * @property {{ block: Row, token: Row } | null} thresholds [evaluations] each
 * @property {Row | null} step [evaluations]
 * @property {Row | null} held [evaluations], what the rule held against the general block threshold
 * @property {Row | null} realised [evaluations], errors that were measured, all together
 * @property {(string | null)[] | null} forced [evaluations], why all was computed whatever the thresholds
 * @property {Row[] | null} size [evaluations][blocks]
 * @property {number[] | null} work [blocks], sums to 1
 * @property {number[] | null} imageShare [blocks]
 * @property {number[] | null} evaluationWork [evaluations], parts of all work; they sum to 1
 * @property {number | null} views parts of the picture that were decided about apart
 * @property {(number | null)[] | null} weight [evaluations], how much an error counts there; 1 on average
 * @property {number[] | null} restarts evaluations at which blocks were cut into other sites
 * @property {boolean | null} tokensSelected
 * @property {Record<string, number[][]> | null} computedByBranch where branches were treated differently
 * @property {Saliency | null} saliency [evaluations] of bytes, in the order of the token masks
 */

export const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * @param {any} value the parsed JSON
 * @param {number} evaluations
 * @param {number} blocks
 * @param {number} tokens of a mask, all samples together
 * @returns {Additions}
 */
export function readAdditions(value, evaluations, blocks, tokens) {
  const run = value.run ?? {};
  return {
    rule: text(run.rule),
    level: text(run.level),
    predictor: text(run.predictor),
    branches: texts(run.branches),
    steps: finite(run.steps),
    samplesRun: finite(run.samples),
    blockThreshold: finite(run.block_threshold),
    tokenThreshold: finite(run.token_threshold),
    alpha: finite(run.alpha),
    alphaQuantile: finite(run.alpha_quantile),
    maxConsecutiveSkips: finite(run.max_consecutive_skips),
    minActive: finite(run.min_active),
    maxActive: finite(run.max_active),
    refreshInterval: finite(run.refresh_interval),
    tokenWarmup: finite(run.token_warmup),
    sites: readSites(run.sites, blocks),
    ownThresholds: row(run.own_thresholds, blocks),
    thresholds: readThresholds(value.thresholds, evaluations),
    step: row(value.step, evaluations),
    held: row(value.held, evaluations),
    weight: row(value.weight, evaluations),
    realised: row(value.realised, evaluations),
    forced: sentences(value.forced, value.reason_texts, evaluations),
    size: rows(value.size, evaluations, blocks),
    work: numbers(value.work, blocks),
    imageShare: numbers(value.image_share, blocks),
    evaluationWork: numbers(value.evaluation_work, evaluations),
    views: finite(run.views),
    restarts: Array.isArray(run.restarts) ? numbers(run.restarts, run.restarts.length) : null,
    tokensSelected: typeof run.tokens_selected === "boolean" ? run.tokens_selected : null,
    computedByBranch: readBranches(value.computed_by_branch, evaluations, blocks),
    saliency: readSaliency(value.tokens?.saliency, value.thresholds, evaluations, tokens),
  };
}

/** @param {any} value @returns {string | null} */
function text(value) {
  return typeof value === "string" ? value : null;
}

/** @param {any} value @returns {string[]} */
function texts(value) {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** @param {any} value @returns {number | null} */
function finite(value) {
  return Number.isFinite(value) ? value : null;
}

/** @param {any} value @param {number} count @returns {Row | null} */
function row(value, count) {
  return Array.isArray(value) && value.length === count ? value.map(finite) : null;
}

/** @param {any} value @param {number} evaluations @param {number} blocks @returns {Row[] | null} */
function rows(value, evaluations, blocks) {
  if (!Array.isArray(value) || value.length !== evaluations) return null;
  return complete(value.map((one) => row(one, blocks)));
}

/** @param {any} value @param {number} count @returns {number[] | null} */
function numbers(value, count) {
  return complete(row(value, count) ?? [null]);
}

/** @template T @param {(T | null)[]} items @returns {T[] | null} null where one is missing */
function complete(items) {
  const present = /** @type {T[]} */ (items.filter((item) => item !== null));
  return present.length === items.length ? present : null;
}

/** @param {any} value @param {number} blocks @returns {[number, number][] | null} */
function readSites(value, blocks) {
  const isBlock = (/** @type {any} */ block) => Number.isInteger(block) && 0 <= block && block < blocks;
  const isSite = (/** @type {any} */ site) =>
    Array.isArray(site) && site.length === 2 && site.every(isBlock) && site[0] <= site[1];
  return Array.isArray(value) && value.every(isSite) ? value : null;
}

/** @param {any} value @param {number} evaluations @returns {{ block: Row, token: Row } | null} */
function readThresholds(value, evaluations) {
  const [block, token] = [row(value?.block, evaluations), row(value?.token, evaluations)];
  return block && token ? { block, token } : null;
}

/** @param {any} indices @param {any} texts @param {number} count @returns {(string | null)[] | null} */
function sentences(indices, texts, count) {
  return row(indices, count)?.map((index) => (index === null ? null : text(texts?.[index]))) ?? null;
}

/** @param {any} value @param {number} evaluations @param {number} blocks
 * @returns {Record<string, number[][]> | null} */
function readBranches(value, evaluations, blocks) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  const isFraction = (/** @type {number | null} */ part) => part !== null && part >= 0 && part <= 1;
  const read = Object.entries(value).map(([name, parts]) => [name, rows(parts, evaluations, blocks)]);
  const good = read.every(([, parts]) => Array.isArray(parts) && parts.flat().every(isFraction));
  return good && read.length > 1 ? Object.fromEntries(read) : null;
}

/** @param {any} value @param {any} thresholds @param {number} evaluations @param {number} tokens
 * @returns {Saliency | null} */
function readSaliency(value, thresholds, evaluations, tokens) {
  const [scale, held] = [finite(value?.scale), row(thresholds?.token, evaluations)];
  if (held === null || scale === null || scale <= 0 || tokens === 0) return null;
  if (!Array.isArray(value.values) || value.values.length !== evaluations) return null;
  return { scale, thresholds: held, values: value.values.map((/** @type {any} */ bytes) => decodeBytes(bytes, tokens)) };
}

/** @param {any} base64 @param {number} count @returns {Uint8Array | null} */
function decodeBytes(base64, count) {
  if (typeof base64 !== "string" || base64.length % 4 || !BASE64.test(base64)) return null;
  const bytes = atob(base64);
  return bytes.length === count ? Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)) : null;
}

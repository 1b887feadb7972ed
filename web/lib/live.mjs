// @ts-check
/**
 * Turns what the server says while it samples (docs/live.md) into reports that grow by an evaluation at a time.
 *
 * @typedef {object} Step one message
 * @property {string[]} nodes execution ids of the previews it is for
 * @property {string} promptId
 * @property {string | null} workflow
 * @property {string} run
 * @property {number} evaluation counted from 0
 * @property {string[]} blocks
 * @property {number[]} computed [blocks]
 * @property {{ grid: number[], samples: number, bits: string } | null} tokens
 * @property {any} said the message itself, for what is only passed on
 */

import { warnOnce } from "./once.mjs";
import { SCHEMA } from "./report.mjs";

export const EVENT = "fastcache.step";
const VERSION = 1;
const MOST_CHARACTERS = 64 * 1024;
const MOST_BLOCKS = 4096;
const MOST_EVALUATIONS = 10_000;
const MOST_PROMPTS = 8;
const NOT_ENDED = "The run did not end; this is what it did until then.";
const NOT_EXECUTED = "The preview was not executed; this is what came of its run while it sampled.";

/**
 * @param {any} detail the message as parsed JSON
 * @returns {Step | null} null after a warning, where it is not one
 */
export function readStep(detail) {
  const size = JSON.stringify(detail ?? null).length;
  if (size > MOST_CHARACTERS) return refuse("size", `it has ${size} characters, of ${MOST_CHARACTERS} at most`);
  if (detail?.v !== VERSION) return refuse("version", `it has the version ${detail?.v}; this page reads ${VERSION}`);
  try {
    return parse(detail);
  } catch (error) {
    return refuse("form", error instanceof Error ? error.message : String(error));
  }
}

/** @param {string} kind @param {string} why @returns {null} */
function refuse(kind, why) {
  warnOnce(`live ${kind}`, `an update from the server was ignored: ${why}. Restart ComfyUI and reload the page.`);
  return null;
}

/** @param {any} said @returns {Step} */
function parse(said) {
  const { nodes, prompt_id: promptId, workflow, run, evaluation } = said;
  expect(Array.isArray(nodes) && nodes.every(isText), "`nodes` is not a list of ids");
  expect(isText(promptId) && isText(run), "`prompt_id` or `run` is not a text");
  expect(workflow === null || isText(workflow), "`workflow` is not a text");
  expect(isCount(evaluation) && evaluation < MOST_EVALUATIONS, "`evaluation` is not a number of an evaluation");
  const blocks = expand(said.blocks);
  const computed = bytes(said.computed).map((level) => level / 255);
  expect(computed.length === blocks.length, `\`computed\` has ${computed.length} levels for ${blocks.length} blocks`);
  return { nodes, promptId, workflow, run, evaluation, blocks, computed, tokens: readTokens(said.tokens), said };
}

/** Names of blocks: texts, and [label, number] for a row of them. @param {any} blocks @returns {string[]} */
function expand(blocks) {
  expect(Array.isArray(blocks), "`blocks` is not a list");
  const names = [];
  for (const entry of blocks) {
    const [label, count] = Array.isArray(entry) ? entry : [entry, null];
    expect(isText(label) && (count === null || isCount(count)), "`blocks` has an entry that names none");
    expect(names.length + (count ?? 1) <= MOST_BLOCKS, `\`blocks\` names more than ${MOST_BLOCKS}`);
    if (count === null) names.push(label);
    else names.push(...Array.from({ length: count }, (_, i) => `${label} ${i}`));
  }
  return names;
}

/** @param {any} tokens @returns {Step["tokens"]} */
function readTokens(tokens) {
  if (tokens === null) return null;
  const { grid, samples, bits } = tokens ?? {};
  expect(Array.isArray(grid) && grid.length === 3 && [...grid, samples].every((size) => isCount(size) && size > 0),
    "`tokens` has no grid of three sizes and a number of samples");
  expect(bytes(bits).length === bytesFor({ grid, samples }), "`tokens` has too few or too many bits for its grid");
  return { grid, samples, bits };
}

/** @param {{ grid: number[], samples: number }} tokens */
function bytesFor({ grid, samples }) {
  return Math.ceil(grid.reduce((product, size) => product * size, samples) / 8);
}

/** @param {any} base64 @returns {number[]} */
function bytes(base64) {
  expect(isText(base64) && /^[A-Za-z0-9+/]*={0,2}$/.test(base64), "bytes are not base64");
  return Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** A run as far as it is known. Evaluations that were left out on the way here count as computed. */
export class LiveReport {
  /** @param {Step} step the first one that came @param {string | null} [sampler] the node that is executed meanwhile */
  constructor(step, sampler = null) {
    this.run = step.run;
    this.sampler = sampler;
    /** @type {Map<number, Step>} */
    this.steps = new Map([[step.evaluation, step]]);
    this.newest = step;
  }

  /** @param {Step} step of the same run */
  add(step) {
    this.steps.set(step.evaluation, step);
    this.newest = step;
  }

  /** The run so far, schema fastcache.report/1. */
  toReport() {
    const { blocks, said } = this.newest;
    const evaluations = Math.max(...this.steps.keys()) + 1;
    const rows = Array.from({ length: evaluations }, (_, i) => this.steps.get(i));
    const fits = rows.map((step) => (step?.blocks.length === blocks.length ? step : undefined));
    const reasons = [...new Set(fits.map((step) => step?.said.reason).filter(isText))];
    return {
      schema: SCHEMA,
      run: { steps: said.steps, rule: said.rule, sampler_evaluations: evaluations,
        block_threshold: said.threshold?.block, token_threshold: said.threshold?.token,
        sigmas: rows.map((step) => step?.said.sigma ?? null) },
      blocks,
      computed: fits.map((step) => step?.computed ?? blocks.map(() => 1)),
      change: fits.map((step) => firstOf(blocks, step?.said.change)),
      held: rows.map((step) => number(step?.said.held, null)),
      thresholds: Object.fromEntries(["block", "token"].map((kind) =>
        [kind, rows.map((step) => step?.said.threshold?.[kind] ?? null)])),
      tokens: this.tokens(rows),
      reasons: fits.map((step) => blocks.map((_, block) => reasonOf(step, block, reasons))),
      reason_texts: reasons,
      notes: [],
      seconds: { total: number(said.seconds, 0), overhead: number(said.overhead, 0) },
      cache_bytes_peak: number(said.cache_bytes, 0),
      computed_fraction: number(said.computed_fraction, 1),
    };
  }

  /** @param {(Step | undefined)[]} rows */
  tokens(rows) {
    const known = rows.find((step) => step?.tokens)?.tokens;
    if (!known) return { grid: [0, 0, 0], samples: 0, computed: [] };
    const { grid, samples } = known;
    const length = bytesFor(known);
    const all = btoa("\xff".repeat(length));
    const fits = (/** @type {Step["tokens"] | undefined} */ tokens) => tokens && bytesFor(tokens) === length;
    return { grid, samples, computed: rows.map((step) => (fits(step?.tokens) ? step?.tokens?.bits : all)) };
  }
}

/** A measure of which only the first block's was sent. @param {string[]} blocks @param {unknown} value */
function firstOf(blocks, value) {
  return blocks.map((_, block) => (block === 0 ? number(value, null) : null));
}

/** The one reason that was sent, for the blocks of which it can be true: it begins with what happened to them.
 * @param {Step | undefined} step @param {number} block @param {string[]} reasons */
function reasonOf(step, block, reasons) {
  const state = { 0: "predicted", 1: "computed" }[step?.computed[block] ?? -1] ?? "partial";
  return step?.said.reason?.startsWith?.(state) ? reasons.indexOf(step.said.reason) : null;
}

/**
 * What the previews of the last prompts show. It does not depend on the maps, which are made anew when somebody undoes
 * something or looks at another workflow meanwhile.
 *
 * @typedef {{ setLive: (report: object) => void, setReport: (report: object) => void,
 *   setImages: (urls: string[][]) => void }} LiveMap
 * @typedef {object} Preview of one prompt
 * @property {string} id its execution id
 * @property {string | null} workflow null until it is known
 * @property {LiveReport | null} report of its newest run
 * @property {Set<string>} past runs that another one came after
 * @property {boolean} reported whether its own report came
 * @property {string[] | null} notes once the prompt is over
 * @property {boolean} due whether it will be drawn
 */
export class LiveMaps {
  /**
   * @param {(then: () => void) => void} later calls once the page is to be drawn again, for a run may be faster
   * @param {(id: string, workflow: string | null) => LiveMap | undefined} mapOf a preview's map, where there is one now
   */
  constructor(later, mapOf) {
    this.later = later;
    this.mapOf = mapOf;
    /** By prompt, oldest first, and by execution id. @type {Map<string, Map<string, Preview>>} */
    this.prompts = new Map();
    /** What every map shows. @type {WeakMap<LiveMap, LiveReport>} */
    this.shown = new WeakMap();
    /** The node that ComfyUI executes. @type {string | null} */
    this.executing = null;
  }

  /** @param {string} promptId @param {string} id @returns {Preview} */
  preview(promptId, id) {
    const previews = this.prompts.get(promptId) ?? new Map();
    this.prompts.set(promptId, previews);
    if (this.prompts.size > MOST_PROMPTS) this.prompts.delete([...this.prompts.keys()][0]);
    const fresh = { id, workflow: null, report: null, past: new Set(), reported: false, notes: null, due: false };
    if (!previews.has(id)) previews.set(id, fresh);
    return previews.get(id);
  }

  /**
   * Show an evaluation, unless it comes after the preview's report or after another run has begun.
   * @param {Step} step
   */
  show(step) {
    for (const id of step.nodes) {
      const preview = this.preview(step.promptId, id);
      if (preview.reported || preview.past.has(step.run)) continue;
      preview.workflow = step.workflow;
      if (preview.report?.run === step.run) {
        preview.report.add(step);
      } else {
        if (preview.report) preview.past.add(preview.report.run);
        preview.report = new LiveReport(step, this.executing);
      }
      this.drawLater(preview);
    }
  }

  /** @param {Preview} preview */
  drawLater(preview) {
    if (!preview.due) this.later(() => this.draw(preview));
    preview.due = true;
  }

  /** @param {Preview} preview */
  draw(preview) {
    preview.due = false;
    const { report, notes } = preview;
    const map = preview.reported ? null : this.mapOf(preview.id, preview.workflow);
    if (!report || !map) return;
    if (this.shown.get(map) !== report) map.setImages([]); // those of the run before
    this.shown.set(map, report);
    if (notes) map.setReport({ ...report.toReport(), notes });
    else map.setLive(report.toReport());
  }

  /**
   * The maps of a workflow were made anew: those whose last prompt gave them no report go on with what is known.
   * @param {string} workflow
   */
  resume(workflow) {
    const previews = [...this.prompts.values()].flatMap((those) => [...those.values()]);
    const here = previews.filter((preview) => preview.workflow === workflow || preview.workflow === null);
    const last = new Map(here.map((preview) => [preview.id, preview]));
    for (const preview of last.values()) {
      if (preview.workflow !== null) this.drawLater(preview);
    }
  }

  /**
   * The preview's turn came in a prompt: its map shows the report, and what still comes of that prompt is older.
   * @param {string} promptId
   * @param {string} id execution id of the preview
   */
  end(promptId, id) {
    Object.assign(this.preview(promptId, id), { reported: true, report: null });
  }

  /**
   * A prompt is over. For previews whose turn did not come, what is known of their run stays.
   * @param {string} promptId
   * @param {string | null} stoppedAt the node at which it was interrupted or failed; null if it did not
   */
  over(promptId, stoppedAt) {
    for (const preview of this.prompts.get(promptId)?.values() ?? []) {
      if (!preview.report || preview.notes) continue;
      const sampler = preview.report.sampler ?? stoppedAt;
      preview.notes = [stoppedAt !== null && stoppedAt === sampler ? NOT_ENDED : NOT_EXECUTED];
      this.draw(preview);
    }
  }
}

/** @template T @param {unknown} value @param {T} otherwise @returns {number | T} */
function number(value, otherwise) {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

/** @param {unknown} value @returns {value is string} */
function isText(value) {
  return typeof value === "string";
}

/** @param {unknown} value @returns {value is number} */
function isCount(value) {
  return Number.isInteger(value) && Number(value) >= 0;
}

/** @param {boolean} condition @param {string} sentence */
function expect(condition, sentence) {
  if (!condition) throw new Error(sentence);
}

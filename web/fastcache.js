// @ts-check
/** Shows what was skipped on every FastCache Preview node, also while it samples, and on other nodes of the pack the
 * text that they put out. The only file ComfyUI imports by itself. */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { allNodes, applyThreshold, nodeByExecutionId, nodeByLocator } from "./lib/graph.mjs";
import { EVENT, LiveMaps, readStep } from "./lib/live.mjs";
import { guarded, warnOnce } from "./lib/once.mjs";
import { LastOutputs } from "./lib/outputs.mjs";
import { DEFAULT_PALETTE, PALETTE_NAMES } from "./lib/palette.mjs";
import { Places } from "./lib/places.mjs";
import { SkipMap } from "./lib/skip_map.mjs";
import { TEXT_STYLE } from "./lib/style.mjs";
import { EMPTY_COMPARISON, EMPTY_PROFILE } from "./lib/texts.mjs";

const MIN_HEIGHT = 260;
const FIRST_SIZE = [440, 560];
/** Nodes that show a text: what stands there at first, its height, and the size of a new node.
 * @typedef {{ empty: string, height: number, size: number[] }} TextNode @type {Record<string, TextNode>} */
const TEXT_NODES = {
  FastCacheCompare: { empty: EMPTY_COMPARISON, height: 175, size: [480, 460] },
  FastCacheSaveProfile: { empty: EMPTY_PROFILE, height: 74, size: [330, 150] },
};
const LIVE = "fastcache.Preview.Live";
const COLOURS = "fastcache.Preview.Colours";
const NODES_2 = "Comfy.VueNodes.Enabled";
const MIDDLE = 1; // as `button` of a pointer's event
const MIDDLE_HELD = 4; // in its `buttons`
const REMEMBERED = 16; // of the last runs, to find the one of a workflow that was just loaded
/** Id of a graph that was cleared and not loaded since; newer frontends give it one of its own when it is loaded. */
const NO_ID = "00000000-0000-0000-0000-000000000000";

/** The map of every preview node. @type {WeakMap<object, SkipMap>} */
const maps = new WeakMap();
/** The text of every node that shows one. @type {WeakMap<object, HTMLElement>} */
const texts = new WeakMap();
const live = new LiveMaps(nextFrame, mapOf);
const places = new Places(nextFrame);
const kept = new LastOutputs();
/** What the running prompt takes over from earlier ones, maybe of other workflows: the outputs say theirs.
 * @type {{ prompt_id: string, nodes: string[] } | null} */
let reused = null;
/** Outputs taken over from another workflow's run, until it is known whose run took them.
 * @type {{ promptId: string, id: string, output: any }[]} */
const strays = [];
/** Workflows whose earlier runs the server was asked for. @type {Set<string>} */
const asked = new Set();

app.registerExtension({
  name: "fastcache.Preview",
  settings: [
    {
      id: LIVE,
      category: ["FastCache", "Preview", "Live"],
      name: "Update the map while sampling",
      tooltip: "The server sends one small message an evaluation to the page that queued the run.",
      type: "boolean",
      defaultValue: true,
    },
    {
      id: COLOURS,
      category: ["FastCache", "Preview", "Colours"],
      name: "Colours of the map",
      tooltip: "The picture that the node puts out keeps its colours.",
      type: "combo",
      options: [...PALETTE_NAMES],
      defaultValue: DEFAULT_PALETTE,
      // Also called when the setting is registered, before there is a graph.
      onChange: guarded((value, before) => before !== undefined && everyMap((map) => map.setPalette(value))),
    },
  ],
  setup: guarded(() => {
    api.addEventListener(EVENT, guarded(({ detail }) => showStep(detail)));
    api.addEventListener("executing", guarded(({ detail }) => {
      live.executing = detail;
      if (detail === null) guarded(settle)(); // the run is over, and in the history
    }));
    api.addEventListener("execution_cached", guarded(({ detail }) => {
      reused = detail;
    }));
    api.addEventListener("executed", guarded(({ detail }) => keepOutput(detail)));
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, guarded(({ detail }) => live.over(detail.prompt_id, detail.node_id ?? null)));
    }
  }),
  nodeCreated: guarded((/** @type {any} */ node) => {
    if (node.comfyClass === "FastCachePreview") addSkipMap(node);
    if (Object.hasOwn(TEXT_NODES, node.comfyClass)) addText(node, TEXT_NODES[node.comfyClass]);
  }),
  /** Outputs that did not come from a run: a job opened from the history, a workflow tab shown again. */
  onNodeOutputsUpdated: guarded((/** @type {Record<string, any>} */ outputs) => {
    for (const [locator, output] of Object.entries(outputs)) {
      const named = output?.fastcache_workflow?.[0] !== NO_ID;
      showOutput(nodeByLocator(root(), locator), named ? output : ranIn(root().id, output));
    }
  }),
  afterConfigureGraph: guarded(() => {
    live.resume(root().id);
    guarded(recall)(); // not returned, because loading the workflow would wait for it
  }),
});

/** @param {() => void} then */
function nextFrame(then) {
  requestAnimationFrame(guarded(then));
}

/** The outermost graph. */
function root() {
  return app.rootGraph ?? app.graph;
}

/** @param {string} id @returns {any} the value of one of our settings */
function setting(id) {
  return app.extensionManager.setting.get(id);
}

/** @param {string} id execution id of a node @param {string | null} workflow @returns {SkipMap | undefined} */
function mapOf(id, workflow) {
  return isHere(workflow) ? maps.get(nodeByExecutionId(root(), id)) : undefined;
}

/** Whether something is about the workflow in view, not another tab's, whose nodes may have the same ids.
 * @param {string | null} workflow null where it is not known */
function isHere(workflow) {
  return workflow === null || workflow === root().id;
}

/** @param {(map: SkipMap) => void} then */
function everyMap(then) {
  for (const node of allNodes(root())) {
    const map = maps.get(node);
    if (map) then(map);
  }
}

/** @param {any} node a FastCachePreview node that was just created */
function addSkipMap(node) {
  const apply = guarded((kind, value) => applyThreshold(root(), node, kind, value, app.canvas));
  const map = new SkipMap({
    apply: (kind, value) => apply(kind, value) ?? "The threshold could not be changed; the browser's console says why.",
  });
  map.setPalette(setting(COLOURS));
  maps.set(node, map);
  const options = { getMinHeight: () => MIN_HEIGHT };
  const widget = addElement(node, "skip_map", "fastcache_skip_map", map.element, options, FIRST_SIZE);
  widget.serializeValue = () => setting(LIVE) === true; // the prompt asks for updates (nodes/audience.py)
  chain(node, "onRemoved", () => map.dispose());
}

/** @param {any} node that was just created @param {TextNode} shown */
function addText(node, { empty, height, size }) {
  const text = document.createElement("div");
  Object.assign(text.style, TEXT_STYLE);
  text.textContent = empty;
  text.dataset.state = "empty";
  text.tabIndex = 0; // what is selected is copied while it has the focus; keys scroll it
  texts.set(node, text);
  text.addEventListener("copy", guarded(keepCopy));
  text.addEventListener("blur", guarded(deselect));
  const options = { serialize: false, getMinHeight: () => height, getMaxHeight: () => height };
  addElement(node, "text", "fastcache_text", text, options, size);
}

/** What is selected of a text is copied as it is; the frontend would copy the selected nodes. @param {any} event */
function keepCopy(event) {
  if (document.getSelection()?.isCollapsed === false) event.stopPropagation();
}

/** A click on the graph would leave the text selected, and newer frontends neither copy nor paste nodes while any text
 * is. Another window that gets the focus changes nothing. @param {any} event */
function deselect(event) {
  const selection = document.getSelection();
  if (document.hasFocus() && event.currentTarget.contains(selection?.anchorNode)) selection?.removeAllRanges();
}

/**
 * @param {any} node @param {string} name @param {string} type unknown to the frontend, which then shows the element
 * @param {HTMLElement} element @param {object} options @param {number[]} size of a new node, at least
 * @returns {any} the widget
 */
function addElement(node, name, type, element, options, size) {
  const widget = node.addDOMWidget(name, type, element, options);
  widget.serialize = false; // keeps it out of the workflow file; the option of that name keeps it out of the prompt
  element.addEventListener("wheel", guarded(zoomGraph));
  for (const event of ["pointerdown", "pointermove", "pointerup"]) element.addEventListener(event, guarded(panGraph));
  node.setSize(size.map((least, axis) => Math.max(least, node.size[axis])));
  chain(node, "onAdded", (/** @type {any} */ graph) => {
    places.put(`${graph.isRootGraph ? "" : graph.id}:${node.id}`, element);
  });
  chain(node, "onExecuted", (/** @type {any} */ output) => showOutput(node, output));
  return widget;
}

/** Zoom the graph under the pointer, unless the wheel scrolls there: the canvas gets no events from elements above it,
 * Nodes 2.0 does by itself. @param {any} event */
function zoomGraph(event) {
  if (!setting(NODES_2) && (event.ctrlKey || !scrolls(event.target, event.currentTarget))) {
    app.canvas.processMouseWheel(event);
  }
}

/** Whether a part of an element, or what it is in, has more to scroll to.
 * @param {Element} part @param {Element} element @returns {boolean} */
function scrolls(part, element) {
  const rest = part.scrollHeight - part.clientHeight;
  if (rest > 1 && getComputedStyle(part).overflowY === "auto") return true; // one pixel comes of rounding
  return part !== element && part.parentElement !== null && scrolls(part.parentElement, element);
}

/** The middle button moves the graph, also where it is covered. @param {any} event */
function panGraph(event) {
  if (setting(NODES_2)) return;
  const { type, button, buttons } = event;
  if (type === "pointerdown" && button === MIDDLE) app.canvas.processMouseDown(event);
  if (type === "pointermove" && buttons & MIDDLE_HELD) app.canvas.processMouseMove(event);
  if (type === "pointerup" && button === MIDDLE) app.canvas.processMouseUp(event);
}

/** @param {any} node @param {any} output what the node gave to the interface */
function showOutput(node, output) {
  if (!isHere(output?.fastcache_workflow?.[0] ?? null)) return;
  const map = node && maps.get(node);
  if (map && output?.fastcache_report) {
    map.setReport(output.fastcache_report[0]);
    map.setImages((output.fastcache_images ?? []).map((/** @type {any[]} */ frames) => frames.map(urlOf)));
  }
  const text = node && texts.get(node);
  if (!text || !output?.text) return;
  text.textContent = output.text[0];
  text.dataset.state = "text";
}

/** @param {{ filename: string, subfolder: string, type: string }} picture in ComfyUI's folders */
function urlOf({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** What the server says of an evaluation goes to the maps of its previews. @param {any} detail */
function showStep(detail) {
  const step = readStep(detail);
  if (!step || !setting(LIVE)) return;
  live.show(step);
  const missing = isHere(step.workflow) ? step.nodes.find((id) => !mapOf(id, null)) : undefined;
  if (missing === undefined) return;
  warnOnce("live node", `an update from the server was ignored: this graph has no preview with the id ${missing}.`);
}

/** What one of our nodes put out is kept, also where its workflow is in another tab or not loaded yet: the output itself
 * tells that it is ours, and of which workflow. @param {any} detail of the event */
function keepOutput({ node, display_node: id = node, prompt_id: promptId, output }) {
  if (output?.fastcache_report) live.end(promptId, id);
  else if (!output?.fastcache_workflow) return;
  const workflow = output.fastcache_workflow?.[0] ?? root().id;
  const again = reused?.prompt_id === promptId && reused?.nodes.includes(node);
  if (again && !isHere(workflow)) strays.push({ promptId, id, output });
  else kept.keep(workflow, id, output);
}

/** Give outputs that were taken over from another workflow's run to the workflow that was run. */
async function settle() {
  for (const { promptId, id, output } of strays.splice(0)) {
    const run = (await historyOf(`/${promptId}`))?.[promptId];
    const workflow = run && workflowOf(run);
    if (!workflow) continue;
    kept.keep(workflow, id, ranIn(workflow, output));
    if (isHere(workflow)) showOutput(nodeByExecutionId(root(), id), ranIn(workflow, output));
  }
}

/** @param {string} workflow @param {any} output of a run of it */
function ranIn(workflow, output) {
  return { ...output, fastcache_workflow: [workflow] };
}

/** @param {string} which part of the history
 * @returns {Promise<Record<string, any> | null>} runs by id, oldest first; null where the server did not tell */
async function historyOf(which) {
  try {
    const response = await api.fetchApi(`/history${which}`);
    return response.ok ? await response.json() : null;
  } catch {
    return null; // it restarts, or something on the way answered in its place
  }
}

/** Give maps and texts that are empty after a workflow was loaded what its last runs put out. */
async function recall() {
  const { id } = root();
  showKept(id);
  if (asked.has(id) || !allNodes(root()).some(isEmpty)) return;
  asked.add(id);
  const history = await historyOf(`?max_items=${REMEMBERED}`);
  if (!history) {
    asked.delete(id); // the next time that the workflow is loaded, it is asked again
    return;
  }
  const runs = Object.values(history).filter((run) => workflowOf(run) === id);
  const outputs = runs.flatMap((run) => Object.entries(run.outputs));
  kept.add(id, new Map(outputs.map(([node, output]) => [node, ranIn(id, output)])));
  if (root().id === id) showKept(id);
}

/** @param {string} workflow the one in view */
function showKept(workflow) {
  for (const [id, output] of kept.of(workflow)) {
    const node = nodeByExecutionId(root(), id);
    if (isEmpty(node)) showOutput(node, output);
  }
}

/** @param {any} run an entry of the history @returns {string | undefined} id of the workflow it was queued from */
function workflowOf(run) {
  return run.prompt?.[3]?.extra_pnginfo?.workflow?.id;
}

/** Whether a node is one of ours and has nothing to show yet. @param {any} node */
function isEmpty(node) {
  const element = node && (maps.get(node)?.element ?? texts.get(node));
  return element?.dataset.state === "empty";
}

/** Call `then` after whatever the node already does. @param {any} node @param {string} method @param {Function} then */
function chain(node, method, then) {
  const before = node[method];
  const after = guarded((...values) => then(...values));
  node[method] = function (/** @type {any[]} */ ...values) {
    const result = before?.apply(this, values);
    after(...values);
    return result;
  };
}

// @ts-check
/** Shows what was skipped on every FastCache Preview node, what was measured on every FastCache Compare node. The only
 * file ComfyUI imports by itself. */
import { app } from "../../scripts/app.js";
import { SkipMap } from "./lib/skip_map.mjs";
import { TEXT_STYLE } from "./lib/style.mjs";
import { EMPTY_COMPARISON } from "./lib/texts.mjs";

const MIN_HEIGHT = 260;
const FIRST_SIZE = [440, 560];
const TEXT_HEIGHT = 175;
const FIRST_COMPARISON = [480, 460];

/** The map of every preview node. @type {WeakMap<object, SkipMap>} */
const maps = new WeakMap();
/** The text of every compare node. @type {WeakMap<object, HTMLElement>} */
const texts = new WeakMap();

app.registerExtension({
  name: "fastcache.Preview",
  nodeCreated(/** @type {any} */ node) {
    if (node.comfyClass === "FastCachePreview") addSkipMap(node);
    if (node.comfyClass === "FastCacheCompare") addText(node);
  },
  /** Outputs that did not come from a run: a job opened from the history, a workflow tab shown again. */
  onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
    for (const [locator, output] of Object.entries(outputs)) showOutput(nodeByLocator(locator), output);
  },
});

/** @param {any} node a FastCachePreview node that was just created */
function addSkipMap(node) {
  const map = new SkipMap();
  maps.set(node, map);
  const options = { serialize: false, getMinHeight: () => MIN_HEIGHT };
  addElement(node, "skip_map", "fastcache_skip_map", map.element, options, FIRST_SIZE);
  chain(node, "onRemoved", () => map.dispose());
}

/** @param {any} node a FastCacheCompare node that was just created */
function addText(node) {
  const text = document.createElement("div");
  Object.assign(text.style, TEXT_STYLE);
  text.textContent = EMPTY_COMPARISON;
  texts.set(node, text);
  const options = { serialize: false, getMinHeight: () => TEXT_HEIGHT, getMaxHeight: () => TEXT_HEIGHT };
  addElement(node, "text", "fastcache_text", text, options, FIRST_COMPARISON);
}

/**
 * @param {any} node @param {string} name @param {string} type unknown to the frontend, which then shows the element
 * @param {HTMLElement} element @param {object} options @param {number[]} size of a new node, at least
 */
function addElement(node, name, type, element, options, size) {
  const widget = node.addDOMWidget(name, type, element, options);
  widget.serialize = false; // the option keeps it out of the prompt, this out of the workflow file
  element.addEventListener("wheel", zoomGraph);
  node.setSize(size.map((least, axis) => Math.max(least, node.size[axis])));
  chain(node, "onExecuted", (/** @type {any} */ output) => showOutput(node, output));
}

/** Zoom the graph under the pointer: the canvas gets no wheel events from elements above it, Nodes 2.0 does by itself.
 * @param {WheelEvent} event */
function zoomGraph(event) {
  if (!app.extensionManager.setting.get("Comfy.VueNodes.Enabled")) app.canvas.processMouseWheel(event);
}

/** @param {any} node @param {any} output what the node gave to the interface */
function showOutput(node, output) {
  const map = node && maps.get(node);
  if (map && output?.fastcache_report) map.setReport(output.fastcache_report[0]);
  const text = node && texts.get(node);
  if (text && output?.text) text.textContent = output.text[0];
}

/**
 * @param {string} locator `<node id>`, or `<subgraph uuid>:<node id>`
 * @returns {any} the node, or nothing
 */
function nodeByLocator(locator) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = locator.split(":").reverse();
  return (subgraph ? root.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

/** Call `then` after whatever the node already does. @param {any} node @param {string} method @param {Function} then */
function chain(node, method, then) {
  const before = node[method];
  node[method] = function (/** @type {any[]} */ ...values) {
    const result = before?.apply(this, values);
    then(...values);
    return result;
  };
}

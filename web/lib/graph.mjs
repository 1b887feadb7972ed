// @ts-check
/**
 * Finds nodes in a graph with subgraphs, and writes a threshold to the node that holds it.
 *
 * A subgraph may be used in several places, so a node in it is told apart by its `hosts`: the nodes that show the
 * subgraphs around it, outermost first. Ids are numbers or texts, depending on the frontend.
 *
 * @typedef {{ node: any, slot: number, hosts: any[] }} Output an output of a node
 * @typedef {"block" | "token"} Kind
 */
import { BY_THRESHOLD } from "./presets.mjs";

const NEVER = 2;
const BYPASSED = 4;
/** Where a threshold stands: the socket whose node may hold it, and FastCache's own widget. */
const HELD = {
  block: { socket: "block_cache", widget: "block_threshold" },
  token: { socket: "token_selector", widget: "token_threshold" },
};

/**
 * @param {any} root the outermost graph
 * @param {string} id `12`, or `3:12` for node 12 in the subgraph that node 3 shows
 * @returns {any} the node, or nothing
 */
export function nodeByExecutionId(root, id) {
  const path = String(id).split(":");
  const last = path.pop();
  const graph = path.reduce((within, host) => within?.getNodeById(host)?.subgraph, root);
  return graph?.getNodeById(last);
}

/**
 * @param {any} root
 * @param {string} locator `<node id>`, or `<id of the subgraph>:<node id>`
 * @returns {any} the node, or nothing
 */
export function nodeByLocator(root, locator) {
  const [id, subgraph] = locator.split(":").reverse();
  return (subgraph ? root.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

/** Every node of a graph and its subgraphs. @param {any} root @returns {any[]} */
export function allNodes(root) {
  return [root, ...(root.subgraphs?.values() ?? [])].flatMap((graph) => graph.nodes);
}

/**
 * Write a threshold to the node that holds it for this preview.
 * @param {any} root
 * @param {any} preview the preview node
 * @param {Kind} kind
 * @param {number} value
 * @param {any} canvas the frontend's, which is told of the change, so that it can be undone
 * @returns {string} the sentence that says what was done, or why nothing was
 */
export function applyThreshold(root, preview, kind, value, canvas) {
  const found = fastCachesOf(root, preview);
  if (found.length === 0) return "Nothing was changed: no FastCache node leads to this preview's model input.";
  if (found.length > 1) {
    const names = found.map(nameOf).join(" and ");
    return `Nothing was changed: this preview shows ${names}. Set the threshold there.`;
  }
  const holder = holderOf(found[0], kind);
  const name = holder.node === found[0].node ? HELD[kind].widget : nameIn(holder, kind);
  if (name === null) return `Nothing was changed: the method of ${nameOf(holder)} decides. Set its strength.`;
  const { place, widget, giver } = held(holder, name);
  const told = `${name} of ${nameOf(holder)}`;
  if (giver) return `Nothing was changed: ${told} comes from ${nameOf(giver)}. Set it there.`;
  if (!widget) return `Nothing was changed: ${nameOf(place)} has no ${name}. Set it where its value comes from.`;
  setWidget(place.node, widget, value, canvas);
  const where = place.node === holder.node ? "" : `, on ${nameOf(place)}`;
  return `${told} is now ${widget.value}${where}; run again to use it.`;
}

/**
 * The FastCache nodes whose model a preview shows: one, or several where its subgraph is used in several places.
 * @param {any} root @param {any} preview @returns {Output[]}
 */
export function fastCachesOf(root, preview) {
  const found = new Map();
  for (const hosts of hostsOf(root, preview.graph)) {
    let output = origin(preview, inputIndex(preview, "model"), hosts);
    const visited = new Set(); // links may go round in a circle; such a graph does not run
    while (output && output.node.comfyClass !== "FastCache" && !visited.has(output.node)) {
      visited.add(output.node);
      output = origin(output.node, modelInput(output.node), output.hosts);
    }
    if (output?.node.comfyClass === "FastCache") found.set(output.node, output);
  }
  return [...found.values()];
}

/**
 * Every way from the outermost graph to a graph within it, as the nodes that show subgraphs.
 * @param {any} root @param {any} graph @returns {any[][]}
 */
function hostsOf(root, graph) {
  if (root === graph) return [[]];
  const hosts = root.nodes.filter((/** @type {any} */ node) => node.subgraph);
  return hosts.flatMap((/** @type {any} */ host) => hostsOf(host.subgraph, graph).map((rest) => [host, ...rest]));
}

/**
 * The output that an input gets its value from, as the prompt would have it; null where none does.
 * @param {any} node @param {number} slot of the input @param {any[]} hosts @returns {Output | null}
 */
function origin(node, slot, hosts) {
  return follow(node.graph, linkTo(node.graph, node.id, slot), hosts);
}

/** @param {any} graph @param {any} link @param {any[]} hosts @returns {Output | null} */
function follow(graph, link, hosts) {
  if (!link) return null;
  if (link.originIsIoNode) {
    const host = hosts.at(-1);
    return host ? origin(host, link.origin_slot, hosts.slice(0, -1)) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  return node ? through(node, link.origin_slot, hosts) : null;
}

/**
 * The output itself, unless its node only passes something on: a reroute, a subgraph, a node that is bypassed. A
 * virtual node without an input there, such as a primitive, gives a value of its own.
 * @param {any} node @param {number} slot of the output @param {any[]} hosts @returns {Output | null}
 */
function through(node, slot, hosts) {
  if (node.mode === NEVER) return null;
  if (node.mode === BYPASSED) return origin(node, bypass(node, slot), hosts);
  if (node.subgraph) {
    const links = [...node.subgraph.links.values()];
    const inner = links.find((link) => link.targetIsIoNode && link.target_slot === slot);
    return follow(node.subgraph, inner, [...hosts, node]);
  }
  if (node.isVirtualNode) {
    const source = node.resolveVirtualOutput?.(slot);
    if (source) return through(source.node, source.slot, hosts);
    const link = node.getInputLink(slot);
    if (link || node.inputs?.[slot]) return follow(node.graph, link, hosts);
  }
  return { node, slot, hosts };
}

/** The link to an input. Not by the input's own field, which newer frontends deprecate, nor by the node's method,
 * which answers for another link where the node shows a subgraph.
 * @param {any} graph @param {any} id @param {number} slot */
function linkTo(graph, id, slot) {
  return [...graph.links.values()].find((link) => String(link.target_id) === String(id) && link.target_slot === slot);
}

/** The input that takes an output's place when the node is bypassed: the one across, else the first of its type.
 * @param {any} node @param {number} slot */
function bypass(node, slot) {
  const { type } = node.outputs[slot];
  const fits = (/** @type {any} */ input) => input?.type === type;
  return fits(node.inputs[slot]) ? slot : node.inputs.findIndex(fits);
}

/** @param {any} node */
function modelInput(node) {
  return node.inputs.findIndex((/** @type {any} */ input) => input.type === "MODEL");
}

/** @param {any} node @param {string} name of an input or of a widget that has one */
function inputIndex(node, name) {
  return node.inputs.findIndex((/** @type {any} */ input) => input.name === name);
}

/** Which node has a FastCache node's threshold: the one on the socket that takes its place, else the node itself.
 * @param {Output} fastCache @param {Kind} kind @returns {Output} */
function holderOf({ node, slot, hosts }, kind) {
  return origin(node, inputIndex(node, HELD[kind].socket), hosts) ?? { node, slot, hosts };
}

/** The widget that holds the threshold in the node on the socket; null where a preset's method has another knob.
 * @param {Output} holder @param {Kind} kind @returns {string | null} */
function nameIn(holder, kind) {
  if (holder.node.comfyClass !== "FastCachePreset") return "threshold";
  const { widget, giver } = held(holder, "method");
  return kind === "block" && !giver && BY_THRESHOLD.includes(widget?.value) ? "strength" : null;
}

/**
 * Where the value of a widget stands: in itself, on the subgraph's node if it was promoted to that, or in what is
 * linked to it.
 * @param {Output} place @param {string} name of the widget, and of the input that it may have
 * @returns {{ place: Output, widget: any, giver: Output | null }}
 */
function held(place, name) {
  const { node, hosts } = place;
  const slot = inputIndex(node, name);
  const link = linkTo(node.graph, node.id, slot);
  const host = link?.originIsIoNode ? hosts.at(-1) : null;
  if (host) return held({ node: host, slot: 0, hosts: hosts.slice(0, -1) }, host.inputs[link.origin_slot].name);
  const called = node.inputs[slot]?.widget?.name ?? name;
  const widget = node.widgets?.find((/** @type {any} */ candidate) => candidate.name === called);
  return { place, widget, giver: follow(node.graph, link, hosts) };
}

/** @param {any} node @param {any} widget @param {number} value @param {any} canvas */
function setWidget(node, widget, value, canvas) {
  const { min = -Infinity, max = Infinity } = widget.options ?? {};
  canvas.emitBeforeChange();
  node.graph.beforeChange(node);
  try {
    widget.value = Math.min(Math.max(value, min), max);
    widget.callback?.(widget.value, canvas, node);
  } finally {
    node.graph.afterChange(node);
    canvas.emitAfterChange();
  }
  canvas.setDirty(true, true);
}

/** Title and execution id, such as FastCache (#4). @param {Output} place */
function nameOf({ node, hosts }) {
  return `${node.title} (#${[...hosts, node].map(({ id }) => id).join(":")})`;
}

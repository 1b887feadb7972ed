// @ts-check
/** The HTML elements of the preview, without their behaviour. */
import { CLASS, CSS, EXPANDS } from "./style.mjs";

/** @returns the elements by name; all of them lie in `root` */
export function buildElements() {
  const root = create("div", `${CLASS} ${EXPANDS}`);
  const add = (/** @type {HTMLElement} */ part) => root.appendChild(part);
  add(create("style", "", CSS));
  const notes = add(create("div", "notes"));
  const stage = add(create("div", "stage"));
  const canvas = stage.appendChild(create("canvas", ""));
  const message = stage.appendChild(create("div", "message"));
  const controls = add(create("div", "controls"));
  const play = controls.appendChild(button("play", ""));
  const evaluations = scrubber("evaluation");
  const modes = create("span", "modes");
  const byBlocks = modes.appendChild(button("", "blocks"));
  const byTokens = modes.appendChild(button("", "tokens"));
  controls.append(evaluations.label, modes);
  const frames = scrubber("frame");
  add(frames.label).classList.add("controls");
  const hover = add(create("div", "hover"));
  const whatIf = add(create("div", "what-if"));
  whatIf.append(create("span", "tag", "what if"));
  const verdict = whatIf.appendChild(create("span", "verdict"));
  const apply = whatIf.appendChild(button("apply", "apply"));
  const reset = whatIf.appendChild(button("reset", "reset"));
  const totals = add(create("div", "totals"));
  canvas.setAttribute("role", "img");
  hover.setAttribute("aria-live", "off");
  notes.setAttribute("role", "status");
  verdict.setAttribute("role", "status");
  modes.setAttribute("role", "group");
  modes.setAttribute("aria-label", "curve of");
  return { root, notes, stage, canvas, message, controls, play, evaluations, modes, byBlocks, byTokens, frames, hover,
    whatIf, verdict, apply, reset, totals };
}

/** A slider with its name at the left and its position at the right.
 * @param {string} name */
function scrubber(name) {
  const label = create("label", `scrubber ${name}`);
  label.append(create("span", "word", name));
  const slider = label.appendChild(create("input", ""));
  const position = label.appendChild(create("span", "position"));
  Object.assign(slider, { type: "range", min: "1", step: "1" });
  slider.setAttribute("aria-label", name);
  return { label, slider, position };
}

/** @param {string} className @param {string} text @returns {HTMLButtonElement} */
function button(className, text) {
  const element = create("button", className, text);
  element.type = "button";
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
function create(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.append(text);
  return element;
}

// @ts-check
/** Styles of the preview's element and of texts on nodes; rules lie under a class, colours are the theme's or data's. */

export const CLASS = "fastcache-skip-map";
/** Nodes 2.0 (frontend 1.32) gives the free height of a node to widgets that hold an element of this class. */
export const EXPANDS = "widget-expands";
export const FONT = "11px Inter, Arial, sans-serif";
/** Set by the map to a colour of its palette. */
export const ACCENT = "--fastcache-accent";

const FOCUS = "outline: 2px solid var(--fg-color, #ddd); outline-offset: 1px;";

export const CSS = `
.${CLASS} {
  display: flex; flex-direction: column; gap: 5px; box-sizing: border-box; width: 100%; height: 100%;
  min-height: 240px; padding: 7px 8px; overflow: hidden; font: ${FONT}; line-height: 1.35; text-align: left;
  color: var(--fg-color, #ddd); background: var(--comfy-input-bg, #222); container-type: inline-size;
  border: 1px solid var(--border-color, #444); border-radius: 4px;
  /* Its end tells the canvas of another theme; frontend 1.58 switches all other transitions off meanwhile. */
  transition: color 1ms, background-color 1ms, border-top-color 1ms !important;
}
.${CLASS} > * { flex: none; }
.${CLASS} .notes {
  max-height: 40%; overflow-y: auto; padding: 3px 8px; font-size: 12px;
  border-left: 3px solid var(${ACCENT});
}
.${CLASS} .stage { flex: 1 1 0; min-height: 0; position: relative; overflow: hidden; }
.${CLASS} canvas { position: absolute; left: 0; top: 0; width: 100%; height: 100%; }
.${CLASS} .message {
  height: 100%; display: grid; place-items: center; padding: 0 12px; font-size: 12px; text-align: center;
}
.${CLASS} .threshold {
  position: absolute; height: 14px; cursor: ns-resize; touch-action: none; pointer-events: none;
}
.${CLASS} .threshold::before, .${CLASS} .threshold::after { content: ""; position: absolute; pointer-events: auto; }
.${CLASS} .threshold::before { left: 0; right: 0; top: 4px; height: 6px; }
.${CLASS} .threshold::after {
  right: 0; top: 1px; width: 14px; height: 12px; box-sizing: border-box;
  border: 1px solid currentColor; border-radius: 3px;
  background: linear-gradient(currentColor, currentColor) center / 6px 1px no-repeat, var(--comfy-input-bg, #222);
}
@media (pointer: coarse) { /* For fingers both reach further than they are drawn. */
  .${CLASS} .threshold::before { top: -5px; height: 24px; }
  .${CLASS} .threshold::after {
    top: -15px; width: 44px; height: 44px; border: none;
    background:
      linear-gradient(currentColor, currentColor) right 4px center / 6px 1px no-repeat,
      linear-gradient(var(--comfy-input-bg, #222), var(--comfy-input-bg, #222)) right 1px center / 12px 10px no-repeat,
      linear-gradient(currentColor, currentColor) right center / 14px 12px no-repeat;
  }
}
.${CLASS} .threshold { outline: none; }
.${CLASS} .threshold:focus-visible::after, .${CLASS} button:focus-visible { ${FOCUS} }
.${CLASS} .controls, .${CLASS} .scrubber { display: flex; align-items: center; gap: 8px; }
.${CLASS} .scrubber { flex: 1; min-width: 0; margin: 0; }
.${CLASS} > .scrubber { flex: none; }
.${CLASS} input { flex: 1; min-width: 0; height: 16px; margin: 0; accent-color: var(${ACCENT}); }
.${CLASS} .position { min-width: 4em; text-align: right; font-variant-numeric: tabular-nums; }
.${CLASS} button {
  margin: 0; padding: 1px 8px; font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--border-color, #444); border-radius: 4px;
}
.${CLASS} button:hover { border-color: currentColor; }
.${CLASS} button:disabled { opacity: 0.4; cursor: default; }
.${CLASS} .play { width: 22px; padding: 0; height: 18px; position: relative; flex: none; }
.${CLASS} .play::before {
  content: ""; position: absolute; left: 7px; top: 4px; border-left: 7px solid currentColor;
  border-top: 4px solid transparent; border-bottom: 4px solid transparent;
}
.${CLASS} .play[aria-pressed="true"]::before {
  left: 6px; width: 2px; height: 8px; border: solid currentColor; border-width: 0 3px;
}
.${CLASS} .modes { display: flex; flex: none; }
.${CLASS} .modes button:first-child { border-radius: 4px 0 0 4px; border-right: none; }
.${CLASS} .modes button:last-child { border-radius: 0 4px 4px 0; }
.${CLASS} .modes button[aria-pressed="true"] {
  color: var(--comfy-input-bg, #222); background: var(--fg-color, #ddd); border-color: var(--fg-color, #ddd);
}
.${CLASS} .hover { height: 2.7em; overflow-y: auto; overflow-wrap: anywhere; }
.${CLASS} .totals, .${CLASS} .what-if {
  height: calc(2.7em + 5px); box-sizing: border-box; padding-top: 4px; overflow-y: auto;
  border-top: 1px solid var(--border-color, #444);
}
.${CLASS} .what-if { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 8px; }
.${CLASS} .verdict { flex: 1; }
.${CLASS} .tag { padding: 0 6px; border: 1px dashed currentColor; border-radius: 4px; font-weight: bold; }
.${CLASS} [hidden] { display: none; }
@container (max-width: 380px) {
  .${CLASS} .word, .${CLASS}.trying .hover { display: none; }
  .${CLASS} .hover { height: 4.05em; }
  .${CLASS} .what-if { height: calc(6.75em + 10px); align-content: start; } /* of hover line and totals together */
  .${CLASS} .verdict { flex-basis: 100%; order: 1; }
}
@container (max-width: 230px) {
  .${CLASS} .modes { display: none; }
}
`;

/** Of a text on a node; lines are as they come, and may be selected and copied. */
export const TEXT_STYLE = {
  boxSizing: "border-box", width: "100%", height: "100%", padding: "7px 8px", overflowY: "auto",
  font: "12px Inter, Arial, sans-serif", lineHeight: "1.45", whiteSpace: "pre-wrap", userSelect: "text",
  color: "var(--fg-color, #ddd)", background: "var(--comfy-input-bg, #222)",
  border: "1px solid var(--border-color, #444)", borderRadius: "4px",
};

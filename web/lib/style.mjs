// @ts-check
/** Styles of the preview's and the comparison's element; rules lie under a class, colours are the theme's or the data's. */
import { PALETTE } from "./palette.mjs";

export const CLASS = "fastcache-skip-map";
/** Nodes 2.0 (frontend 1.32) gives the free height of a node to widgets that hold an element of this class. */
export const EXPANDS = "widget-expands";
export const FONT = "11px Inter, Arial, sans-serif";

export const CSS = `
.${CLASS} {
  display: flex; flex-direction: column; gap: 5px; box-sizing: border-box; width: 100%; height: 100%;
  min-height: 240px; padding: 7px 8px; overflow: hidden; font: ${FONT}; line-height: 1.35; text-align: left;
  color: var(--fg-color, #ddd); background: var(--comfy-input-bg, #222);
  border: 1px solid var(--border-color, #444); border-radius: 4px;
}
.${CLASS} > * { flex: none; }
.${CLASS} .notes {
  max-height: 40%; overflow-y: auto; padding: 3px 8px; font-size: 12px;
  border-left: 3px solid ${PALETTE.computed};
}
.${CLASS} .stage { flex: 1 1 0; min-height: 0; position: relative; overflow: hidden; }
.${CLASS} canvas { position: absolute; left: 0; top: 0; width: 100%; height: 100%; }
.${CLASS} .message {
  height: 100%; display: grid; place-items: center; padding: 0 12px; font-size: 12px; text-align: center;
}
.${CLASS} .controls { display: flex; align-items: center; gap: 8px; }
.${CLASS} input { flex: 1; min-width: 0; height: 16px; margin: 0; accent-color: ${PALETTE.computed}; }
.${CLASS} .position { min-width: 4em; text-align: right; font-variant-numeric: tabular-nums; }
.${CLASS} .hover { height: 2.7em; overflow-y: auto; }
.${CLASS} .totals { padding-top: 4px; border-top: 1px solid var(--border-color, #444); }
.${CLASS} [hidden] { display: none; }
`;

/** Of the comparison's text; lines are as they come, and may be selected and copied. */
export const TEXT_STYLE = {
  boxSizing: "border-box", width: "100%", height: "100%", padding: "7px 8px", overflowY: "auto",
  font: "12px Inter, Arial, sans-serif", lineHeight: "1.45", whiteSpace: "pre-wrap", userSelect: "text",
  color: "var(--fg-color, #ddd)", background: "var(--comfy-input-bg, #222)",
  border: "1px solid var(--border-color, #444)", borderRadius: "4px",
};

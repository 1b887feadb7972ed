// @ts-check
/**
 * What `strength` of a FastCache Preset is: fastcache_core/presets.py for the browser, as far as a threshold is
 * concerned. A test compares the two.
 */

/** Methods whose own knob is the block threshold. */
export const BY_THRESHOLD = Object.freeze([
  "FastCache", "Learning-to-Cache", "SmoothCache", "InvarDiff", "Block Caching", "EB-Cache", "First-Block Cache",
  "DiCache", "TeaCache", "MagCache", "EasyCache", "SenCache", "LazyDiT",
]);

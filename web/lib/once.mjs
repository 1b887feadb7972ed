// @ts-check
/** What goes wrong in the preview is said once of each kind, and never stops what called it. */

const said = new Set();

/**
 * @param {string} kind what is said once, whatever the sentence
 * @param {string} sentence
 */
export function warnOnce(kind, sentence) {
  if (said.has(kind)) return;
  said.add(kind);
  console.warn(`FastCache preview: ${sentence}`);
}

/**
 * The same function, but an error in it ends there.
 * @template {(...values: any[]) => any} F
 * @param {F} then
 * @returns {(...values: Parameters<F>) => ReturnType<F> | undefined}
 */
export function guarded(then) {
  return (...values) => {
    try {
      const result = then(...values);
      return result instanceof Promise ? result.catch(complain) : result;
    } catch (error) {
      complain(error);
    }
  };
}

/** @param {unknown} error @returns {undefined} */
function complain(error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  warnOnce(text, `this should not have happened, and nothing else is affected. ${text}`);
}

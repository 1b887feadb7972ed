// @ts-check
/**
 * What nodes put out last in the workflows that were looked at, so that a node that undo makes anew has it at once.
 *
 * @typedef {Map<string, any>} Outputs by execution id
 */
const MOST_WORKFLOWS = 8;

export class LastOutputs {
  constructor() {
    /** By id, the one that was changed last at the end. @type {Map<string, Outputs>} */
    this.workflows = new Map();
  }

  /** @param {string} workflow @param {string} id @param {any} output that just came */
  keep(workflow, id, output) {
    const outputs = this.of(workflow).set(id, output);
    this.workflows.delete(workflow);
    this.workflows.set(workflow, outputs);
    if (this.workflows.size > MOST_WORKFLOWS) this.workflows.delete([...this.workflows.keys()][0]);
  }

  /** Add outputs of earlier runs where there are none yet. @param {string} workflow @param {Outputs} outputs */
  add(workflow, outputs) {
    for (const [id, output] of outputs) {
      if (!this.of(workflow).has(id)) this.keep(workflow, id, output);
    }
  }

  /** @param {string} workflow @returns {Outputs} */
  of(workflow) {
    return this.workflows.get(workflow) ?? new Map();
  }
}

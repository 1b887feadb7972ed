// @ts-check
/** Keeps what is on the screen up to date when nodes are made anew under their old ids, as undo does: Nodes 2.0 goes on
 * showing the element of the node before, which nobody fills any more. */
export class Places {
  /** @param {(then: () => void) => void} later calls once the frontend has drawn the new nodes as far as it will */
  constructor(later) {
    this.later = later;
    /** The last element of every place. @type {Map<string, WeakRef<HTMLElement>>} */
    this.last = new Map();
  }

  /**
   * A node's element, which takes the place of the one before it if that is still shown instead.
   * @param {string} place graph and node
   * @param {HTMLElement} element
   */
  put(place, element) {
    const before = this.last.get(place)?.deref();
    this.last.set(place, new WeakRef(element));
    if (!before || before === element) return;
    this.later(() => {
      if (before.isConnected && !element.isConnected) before.replaceWith(element);
    });
  }
}

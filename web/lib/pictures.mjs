// @ts-check
/** Pictures that lie under the token maps. */

export class Pictures {
  /** @param {() => void} arrived called when another picture can be drawn */
  constructor(arrived) {
    this.arrived = arrived;
    /** @type {HTMLImageElement[][]} per sample, per frame */
    this.images = [];
  }

  /** @param {string[][]} urls per sample, per frame; those that cannot be loaded are left out */
  set(urls) {
    const images = urls.map((frames) => frames.map(() => new Image()));
    this.images = images;
    images.forEach((frames, sample) => frames.forEach((image, frame) => {
      image.onload = () => this.images === images && this.arrived();
      image.src = urls[sample][frame];
    }));
  }

  /**
   * A token map's frame may stand for several of the pictures: the one at the same place in time is taken.
   * @param {number} sample
   * @param {number} frame
   * @param {number} frames of the token map
   * @returns {HTMLImageElement | null} null where there is none (yet)
   */
  at(sample, frame, frames) {
    const row = this.images[sample] ?? [];
    const image = row[frames > 1 ? Math.round((frame * (row.length - 1)) / (frames - 1)) : 0];
    return image?.complete && image.naturalWidth > 0 ? image : null;
  }

  /** How many can be drawn. */
  get count() {
    return this.images.flat().filter((image) => image.complete && image.naturalWidth > 0).length;
  }
}

// Thousands of lines as one image: how many runs pass through each pixel. It is drawn once and kept until its
// runs, its scales or its size change.
import type { Drawn, Scale } from "./lines";

export function density(lines: Drawn[], x: Scale, y: Scale, width: number, height: number, colour: [number, number, number]): HTMLCanvasElement {
  const counts = new Uint32Array(width * height);
  const { log, from, factor, offset } = y;
  for (const { xs, ys, length } of lines) {
    let before = NaN;
    let row = NaN;
    for (let i = 0; i < length; i++) {
      const px = (xs[i]! - x.from) * x.factor + x.offset;
      const py = ((log ? Math.log10(ys[i]!) : ys[i]!) - from) * factor + offset;
      const slope = (py - row) / (px - before);
      if (slope - slope === 0) segment(counts, width, height, before, row, px, slope);
      before = px;
      row = py;
    }
  }
  let most = 1;
  for (let i = 0; i < counts.length; i++) if (counts[i]! > most) most = counts[i]!;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(width, height);
  const bytes = new Uint32Array(image.data.buffer);
  const alphas = new Uint8Array(most + 1);
  for (let i = 1; i <= most; i++) alphas[i] = Math.round(255 * (0.12 + 0.68 * (Math.log(1 + i) / Math.log(1 + most))));
  const rgb = (colour[2] << 16) | (colour[1] << 8) | colour[0];
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i]!;
    if (count) bytes[i] = ((alphas[count]! << 24) | rgb) >>> 0;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Counts the pixels of one segment, column by column, upright stretches included. */
function segment(counts: Uint32Array, width: number, height: number, x0: number, y0: number, x1: number, slope: number): void {
  const first = Math.max(0, Math.ceil(x0));
  const last = Math.min(width - 1, Math.floor(x1));
  if (last < first) return;
  let y = y0 + slope * (first - x0);
  let before = y;
  for (let column = first; column <= last; column++, y += slope) {
    let [top, bottom] = before < y ? [before, y] : [y, before];
    before = y;
    top = (top + 0.5) | 0;
    bottom = (bottom + 0.5) | 0;
    if (bottom > top) bottom -= 1; // the next column begins there
    if (top < 0) top = 0;
    if (bottom >= height) bottom = height - 1;
    for (let row = top; row <= bottom; row++) counts[row * width + column]! += 1;
  }
}

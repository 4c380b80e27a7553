// The chart of curves on a canvas: axes, lines, bands, zoom, and the point near the pointer.
import { effect } from "@preact/signals-core";
import type { Area, Tick } from "./axes";
import { drawAxes, logTicks, ticks, timeTicks } from "./axes";
import { density } from "./density";
import * as format from "./format";
import type { Band, Drawn, Scale } from "./lines";
import { extent, place, scaleOf, trace, value } from "./lines";
import { picture } from "./picture";
import { axis, best, colours, cursor, hovered, logarithmic, metric, model, opened, smoothing } from "./state";
import { theme } from "./theme";

const MANY = 200; // lines that are drawn one by one
const NEAR = 24; // pixels from a point that the pointer means
const RENEW = 1000; // milliseconds between two images of thousands of lines while training goes on

/** A point of a curve, and where on the page it is. */
export interface Found { run: number; x: number; value: number; left: number; top: number }

/** Draws the picture into an element, follows it, and tells of the point that the pointer is near to. */
export class Chart {
  private readonly canvas = document.createElement("canvas");
  private readonly context = this.canvas.getContext("2d")!;
  private readonly mark = document.createElement("div"); // the pointer's line, or what is being zoomed to
  private area: Area = { left: 0, top: 0, width: 1, height: 1 };
  private x: Scale = scaleOf(0, 1, 0, 1, false);
  private y: Scale = scaleOf(0, 1, 0, 1, false);
  private zoom: [number, number] | null = null;
  private from: number | null = null; // where a drag began
  private image: { canvas: HTMLCanvasElement; of: string; at: number } | null = null;
  private readonly watching: () => void;
  private readonly sized: ResizeObserver;
  private frame = 0;

  constructor(private readonly root: HTMLElement, private readonly point: (found: Found | null) => void) {
    this.mark.className = "mark";
    root.append(this.canvas, this.mark);
    root.onpointermove = (event) => this.moved(event);
    root.onpointerleave = () => this.left();
    root.onpointerdown = (event) => {
      root.setPointerCapture(event.pointerId);
      this.from = this.inside(event)[0];
    };
    root.onpointerup = (event) => this.released(this.inside(event)[0]);
    root.ondblclick = () => {
      this.zoom = null;
      this.show();
    };
    this.sized = new ResizeObserver(() => this.show());
    this.sized.observe(root);
    this.watching = effect(() => {
      picture.value; colours.value; hovered.value; cursor.value; best.value; theme.value;
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.show());
    });
  }

  close(): void {
    cancelAnimationFrame(this.frame);
    this.watching();
    this.sized.disconnect();
    this.root.replaceChildren();
  }

  private rangeX(): [number, number] {
    if (this.zoom) return this.zoom;
    const [left, right] = picture.peek().whole.x;
    if (!(left <= right)) return [0, 1];
    return left === right ? [left - 0.5, right + 0.5] : [left, right];
  }

  private rangeY(): [number, number] {
    const [left, right] = this.zoom ?? [-Infinity, Infinity];
    const { lines, whole } = picture.peek();
    const { y: [low, high], positive } = this.zoom ? extent(lines.map((line) => clipped(line, left, right))) : whole;
    if (!(low <= high)) return logarithmic.peek() ? [0.1, 1] : [0, 1];
    if (logarithmic.peek()) {
      const from = low > 0 ? low : positive;
      if (!(from < Infinity)) return [0.1, 1];
      return from === high ? [from / 2, high * 2] : [from * 0.9, high * 1.1];
    }
    const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
    return [low - room, high + room];
  }

  /** The pointer, in the canvas's pixels. */
  private inside(event: PointerEvent): [number, number] {
    const box = this.root.getBoundingClientRect();
    return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
  }

  private moved(event: PointerEvent): void {
    const [px, py] = this.inside(event);
    const { left, top, width, height } = this.area;
    const at = Math.max(left, Math.min(left + width, px));
    const start = this.from ?? at;
    Object.assign(this.mark.style, {
      display: "block", left: `${Math.min(start, at) / devicePixelRatio}px`, width: `${Math.abs(at - start) / devicePixelRatio}px`,
      top: `${top / devicePixelRatio}px`, height: `${height / devicePixelRatio}px`,
    });
    if (this.from === null) this.find(px, py);
  }

  private released(px: number): void {
    const start = this.from ?? px;
    this.from = null;
    const [low, high] = [value(Math.min(start, px), this.x), value(Math.max(start, px), this.x)];
    if (Math.abs(start - px) > 5 * devicePixelRatio) {
      this.zoom = [low, high];
      this.show();
    } else if (hovered.peek() !== null) {
      opened.value = hovered.peek();
    }
  }

  private left(): void {
    this.mark.style.display = "none";
    this.point(null);
    hovered.value = null;
  }

  private ticksX(low: number, high: number, count: number): Tick[] {
    if (axis.peek() === "time") return timeTicks(low, high, count).map((at) => ({ at, text: format.duration(at) }));
    return ticks(low, high, count, true).map((at) => ({ at, text: at.toLocaleString("en") }));
  }

  private ticksY(low: number, high: number, count: number): Tick[] {
    const found = logarithmic.peek() ? logTicks(low, high) : ticks(low, high, count);
    return found.map((at) => ({ at, text: format.short(Number(at.toPrecision(6))) }));
  }

  private show(): void {
    const began = performance.now();
    const ratio = devicePixelRatio;
    const [width, height] = [this.root.clientWidth, this.root.clientHeight];
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    this.area = { left: 60 * ratio, top: 12 * ratio, width: (width - 82) * ratio, height: (height - 40) * ratio };
    const { left, top } = this.area;
    const [[x0, x1], [y0, y1]] = [this.rangeX(), this.rangeY()];
    this.x = scaleOf(x0, x1, left, left + this.area.width, false);
    this.y = scaleOf(y0, y1, top + this.area.height, top, logarithmic.peek());
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    drawAxes(this.context, this.area, theme.peek(), this.x, this.y, this.ticksX(x0, x1, width / 110), this.ticksY(y0, y1, height / 48));
    this.draw();
    performance.measure("rapidfire:redraw", { start: began });
  }

  private draw(): void {
    const { context, area, x, y } = this;
    const ratio = devicePixelRatio;
    const look = theme.peek();
    const { lines, bands: groups } = picture.peek();
    const shown = colours.peek();
    context.save();
    context.beginPath();
    context.rect(area.left, area.top, area.width, area.height);
    context.clip();
    context.lineJoin = "round";
    const banded = new Set(groups.flatMap(({ runs }) => runs));
    const plain = lines.filter(({ run }) => !shown.has(run) && !banded.has(run));
    if (plain.length > MANY) {
      context.drawImage(this.crowd(plain, x, y), area.left, area.top, area.width, area.height);
    } else {
      context.strokeStyle = look.line;
      context.lineWidth = ratio;
      for (const line of plain) trace(context, line, x, y);
    }
    for (const band of groups) this.band(band, x, y);
    for (const line of lines) {
      if (shown.has(line.run) && !banded.has(line.run)) this.line(line, x, y, look.hues[shown.get(line.run)!]!, 1.75);
    }
    const top = best.peek();
    const front = [top !== null && !shown.has(top) && !banded.has(top) ? top : null, cursor.peek(), hovered.peek()];
    for (const run of front) {
      const line = run !== null && lines.find((each) => each.run === run);
      if (line) this.line(line, x, y, look.hues[shown.get(line.run) ?? -1] ?? look.accent, run === hovered.peek() ? 3 : 2.25);
    }
    context.restore();
  }

  private line(line: Drawn, x: Scale, y: Scale, colour: string, width: number): void {
    const { context } = this;
    context.strokeStyle = colour;
    if (line.ys !== line.raw) {
      context.globalAlpha = 0.22;
      context.lineWidth = devicePixelRatio;
      trace(context, { ...line, ys: line.raw }, x, y);
      context.globalAlpha = 1;
    }
    context.lineWidth = width * devicePixelRatio;
    trace(context, line, x, y);
  }

  private band(band: Band, x: Scale, y: Scale): void {
    const { context } = this;
    const shown = colours.peek();
    const slot = band.runs.map((run) => shown.get(run)).find((each) => each !== undefined);
    const colour = slot === undefined ? theme.peek().line : theme.peek().hues[slot]!;
    context.fillStyle = context.strokeStyle = colour;
    context.globalAlpha = 0.16;
    context.beginPath();
    band.xs.forEach((at, i) => context.lineTo(place(at, x), place(band.high[i]!, y)));
    for (let i = band.xs.length - 1; i >= 0; i--) context.lineTo(place(band.xs[i]!, x), place(band.low[i]!, y));
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.75 * devicePixelRatio;
    trace(context, { xs: band.xs, ys: band.mean, length: band.xs.length }, x, y);
  }

  /** The image of lines that are too many to be drawn each time. */
  private crowd(lines: Drawn[], x: Scale, y: Scale): HTMLCanvasElement {
    const { left, top, width, height } = this.area;
    const look = theme.peek();
    const ratio = devicePixelRatio;
    const shape = [x.from, x.factor, y.from, y.factor, y.log, width, height, look.dark, metric.peek()?.key, axis.peek(), smoothing.peek(), lines.length, lines.reduce((sum, { run }) => (sum + run * run) | 0, 0)].join();
    const of = `${shape},${model.version.peek()}`;
    const now = performance.now();
    if (this.image && (this.image.of === of || (this.image.of.startsWith(`${shape},`) && now - this.image.at < RENEW))) return this.image.canvas;
    // One pixel of the image is one of the style sheet: twice as many would take four times as long.
    const shiftedX = { ...x, offset: (x.offset - left) / ratio, factor: x.factor / ratio };
    const shiftedY = { ...y, offset: (y.offset - top) / ratio, factor: y.factor / ratio };
    const canvas = density(lines, shiftedX, shiftedY, Math.round(width / ratio), Math.round(height / ratio), look.dark ? [140, 146, 160] : [118, 124, 138]);
    this.image = { canvas, of, at: now };
    return canvas;
  }

  /** The point that is nearest to the pointer. */
  private find(px: number, py: number): void {
    const ratio = devicePixelRatio;
    const { x, y } = this;
    let found: { line: Drawn; at: number } | null = null;
    let distance = (NEAR * ratio) ** 2;
    const wanted = value(px, x);
    for (const line of picture.peek().lines) {
      for (const at of around(line, wanted)) {
        const far = (place(line.xs[at]!, x) - px) ** 2 + (place(line.ys[at]!, y) - py) ** 2;
        if (far < distance) {
          distance = far;
          found = { line, at };
        }
      }
    }
    hovered.value = found?.line.run ?? null;
    if (!found) {
      this.point(null);
      return;
    }
    const { line, at } = found;
    this.point({
      run: line.run, x: line.xs[at]!, value: line.raw[at]!,
      left: (place(line.xs[at]!, x)) / ratio, top: place(line.ys[at]!, y) / ratio,
    });
  }
}

function clipped(line: Drawn, left: number, right: number): Drawn {
  let start = 0;
  let end = line.length;
  while (start < end && line.xs[start]! < left) start++;
  while (end > start && line.xs[end - 1]! > right) end--;
  const xs = Array.prototype.slice.call(line.xs, start, end) as number[];
  return { ...line, xs, ys: line.ys.subarray(start, end), length: end - start };
}

/** The two points of a line on both sides of an x. */
function around(line: Drawn, x: number): number[] {
  let [low, high] = [0, line.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line.xs[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 ? [low - 1, low] : [low];
}

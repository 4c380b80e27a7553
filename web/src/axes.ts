// Axes: where ticks are, and how they and the grid are drawn.
import type { Scale } from "./lines";
import { place } from "./lines";
import type { Theme } from "./theme";

const NICE = [1, 2, 2.5, 5, 10];
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];

export interface Area { left: number; top: number; width: number; height: number }

/** Round values from `low` to `high`, about `count` of them. */
export function ticks(low: number, high: number, count: number, whole = false): number[] {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = power * NICE.find((each) => each * power >= rough)!;
  if (whole) step = Math.max(1, Math.ceil(step));
  return every(low, high, step);
}

export function timeTicks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / Math.max(1, count);
  const step = SECONDS.find((each) => each >= rough);
  return step ? every(low, high, step) : ticks(low / 86400, high / 86400, count).map((day) => day * 86400);
}

/** Powers of ten, with 2 and 5 times them where there are few. */
export function logTicks(low: number, high: number): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const factors = last - first > 4 ? [1] : last - first > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const skip = Math.max(1, Math.ceil((last - first) / 8));
  const found: number[] = [];
  for (let power = first; power <= last; power++) {
    if ((power - first) % skip === 0) found.push(...factors.map((factor) => Number(`${factor}e${power}`)));
  }
  return found.filter((value) => value >= low && value <= high);
}

function every(low: number, high: number, step: number): number[] {
  const found: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

export interface Tick { at: number; text: string }

/** Draws both axes and the grid behind the lines. */
export function drawAxes(context: CanvasRenderingContext2D, area: Area, look: Theme, x: Scale, y: Scale, across: Tick[], up: Tick[]): void {
  const ratio = devicePixelRatio;
  const [right, bottom] = [area.left + area.width, area.top + area.height];
  context.lineWidth = ratio;
  context.strokeStyle = look.grid;
  context.fillStyle = look.dim;
  context.font = look.font.replace(/[\d.]+px/, (size) => `${parseFloat(size) * ratio}px`);
  context.beginPath();
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const { at, text } of up) {
    const py = Math.round(place(at, y)) + 0.5;
    context.moveTo(area.left, py);
    context.lineTo(right, py);
    context.fillText(text, area.left - 9 * ratio, py);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const { at, text } of across) {
    const px = Math.round(place(at, x)) + 0.5;
    context.moveTo(px, area.top);
    context.lineTo(px, bottom);
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(px, right + 14 * ratio - half), bottom + 7 * ratio);
  }
  context.stroke();
}

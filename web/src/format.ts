// Values as people read them, as the tables of the command line show them.
import type { Plain } from "./model";

export const NOTHING = "–";

export function metric(value: number | undefined | null): string {
  if (value === undefined || value === null) return NOTHING;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  return size === 0 || (size >= 1e-3 && size < 1e4) ? value.toFixed(4) : value.toExponential(3);
}

export function knob(value: Plain | undefined): string {
  if (value === undefined) return NOTHING;
  if (typeof value === "number") return short(value);
  if (typeof value === "string") return value || '""';
  return JSON.stringify(value);
}

export function short(value: number): string {
  const text = String(value);
  if (text.length <= 10) return text.replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [days, hours, minutes, rest] = [
    Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60,
  ];
  const two = (value: number) => String(value).padStart(2, "0");
  if (days) return `${days}d ${two(hours)}:${two(minutes)}:${two(rest)}`;
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export function count(value: number, noun: string): string {
  return `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
}

export function moment(at: number): string {
  return new Date(at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

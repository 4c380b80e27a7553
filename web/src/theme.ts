// Light or dark, and the colours of the canvas: read from the style sheet, anew when the scheme changes.
import { signal } from "@preact/signals-core";
import { HUES } from "./state";

export interface Theme { text: string; dim: string; line: string; grid: string; accent: string; panel: string; hues: string[]; font: string; dark: boolean }

/** Whether it is dark, and when that may have changed; `follow` may return a function that ends it. */
export interface Scheme { dark: () => boolean; follow: (changed: () => void, host: HTMLElement) => (() => void) | void }

function read(host: HTMLElement, dark: boolean): Theme {
  const style = getComputedStyle(host);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return {
    text: value("--text"), dim: value("--dim"), line: value("--line-muted"), grid: value("--grid"),
    accent: value("--accent"), panel: value("--panel"), font: `11px ${value("--sans")}`,
    hues: Array.from({ length: HUES }, (_, i) => value(`--hue-${i}`)), dark,
  };
}

export const theme = signal<Theme>({ text: "", dim: "", line: "", grid: "", accent: "", panel: "", hues: [], font: "", dark: false });

export function follow(host: HTMLElement, scheme: Scheme): () => void {
  const renew = () => {
    host.classList.toggle("dark", scheme.dark());
    theme.value = read(host, scheme.dark());
  };
  renew();
  return scheme.follow(renew, host) ?? (() => undefined);
}

// Colours of the canvas, read from the style sheet, anew when the system's scheme changes.
import { signal } from "@preact/signals-core";
import { HUES } from "./state";

export interface Theme { text: string; dim: string; line: string; grid: string; accent: string; panel: string; hues: string[]; font: string; dark: boolean }

function read(): Theme {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return {
    text: value("--text"), dim: value("--dim"), line: value("--line-muted"), grid: value("--grid"),
    accent: value("--accent"), panel: value("--panel"), font: `11px ${value("--sans")}`,
    hues: Array.from({ length: HUES }, (_, i) => value(`--hue-${i}`)), dark: matchMedia("(prefers-color-scheme: dark)").matches,
  };
}

export const theme = signal<Theme>({ text: "", dim: "", line: "", grid: "", accent: "", panel: "", hues: [], font: "", dark: false });

export function follow(): void {
  theme.value = read();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (theme.value = read()));
}

// The page in a cell of a notebook: an anywidget (https://anywidget.dev/en/afm/). Its build runs this module
// once for each widget, so that each has a state of its own; the views of one widget share it.
import { Kernel } from "./kernel";
import type { Widget } from "./kernel";
import { show } from "./page";
import { receiver } from "./source";
import { curves, model, use } from "./state";
import type { Scheme } from "./theme";

declare const STYLE: string; // the page's style sheet, by the build

let kernel: Kernel;

export default {
  initialize({ model: widget }: { model: Widget }): () => void {
    kernel = new Kernel(widget, receiver(model, curves), curves);
    use(kernel);
    return () => kernel.close();
  },

  /** A shadow root keeps the notebook's styles and the page's apart. */
  render({ el }: { el: HTMLElement }): () => void {
    const host = document.createElement("div");
    host.dataset.lmSuppressShortcuts = "true"; // `d d` in the table must not delete the cell
    el.append(host);
    const shadow = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];
    const root = document.createElement("div");
    root.id = "page";
    root.tabIndex = -1; // a click anywhere brings the keyboard here
    shadow.append(root);
    const hide = show(shadow, host, root, notebook);
    kernel.watch();
    return () => {
      kernel.leave();
      hide();
      host.remove();
    };
  },
};

/** Whether JupyterLab or VS Code is dark; elsewhere, the system. */
const notebook: Scheme = {
  dark() {
    const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
    if (jpThemeLight !== undefined) return jpThemeLight === "false";
    if (vscodeThemeKind !== undefined) return !vscodeThemeKind.includes("light");
    return matchMedia("(prefers-color-scheme: dark)").matches;
  },
  follow(changed, host) {
    const painted = new MutationObserver(changed);
    painted.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind"] });
    const shown = new ResizeObserver(() => host.isConnected && (changed(), shown.disconnect())); // no colours before
    shown.observe(host);
    return () => [painted, shown].forEach((each) => each.disconnect());
  },
};

// The panel's source: the kernel of the notebook, over the widget's messages. `view/page/panel.py` answers them.
import { batch } from "@preact/signals-core";
import type { CurveCache } from "./series";
import { connection, Failure, uuid } from "./source";
import type { Json, Reply, Source } from "./source";
import { notify } from "./state";

/** What an anywidget is given of its model. */
export interface Widget {
  get(name: string): unknown;
  send(content: unknown): void;
  on(event: "msg:custom", heard: Heard): void;
  off(event: "msg:custom", heard: Heard): void;
}
type Heard = (message: Message, buffers?: DataView[]) => void;
interface Message { kind?: string; data?: unknown; series?: [split: string, name: string]; client?: string; id?: number; status?: number; found?: Json }
interface Pending { done: (found: { document: Json; packed?: DataView }) => void; failed: (failure: Failure) => void }

const SILENCE = 15_000; // milliseconds after which a kernel that says nothing is taken to be gone; it beats every 5 s
const LATE = 3000; // milliseconds after which a request waits for a cell
const [RETRY, MOST] = [1000, 30_000]; // milliseconds until it is asked again, at first and at most

export class Kernel implements Source {
  readonly live = true;
  readonly kind = "kernel";
  readonly readOnly: boolean;
  private readonly client = uuid();
  private readonly pending = new Map<number, Pending>();
  private asked = 0;
  private views = 0;
  private heardAt = 0;
  private told = false; // whether everything came since the kernel was last asked for it
  private timer = 0;

  constructor(private readonly widget: Widget, private readonly receive: (kind: string, data: unknown) => void, private readonly curves: CurveCache) {
    this.readOnly = widget.get("read_only") === true;
    widget.on("msg:custom", this.heard);
  }

  series = (split: string, name: string) => this.binary(`series?${new URLSearchParams({ split, metric: name })}`);
  times = () => this.binary("times");

  async json(path: string): Promise<Json> {
    return (await this.question({ address: path })).document;
  }

  async ask(body: Json): Promise<Reply> {
    const late = window.setTimeout(() => notify("The kernel is busy with a cell.", "The request is carried out when the cell has ended."), LATE);
    try {
      return (await this.question({ ask: { id: uuid(), ...body } })).document as unknown as Reply;
    } finally {
      window.clearTimeout(late);
    }
  }

  /** A view is shown: from now on, the kernel tells what changes. */
  watch(): void {
    this.views += 1;
    if (this.views > 1) return;
    this.heardAt = performance.now();
    [connection.value, this.told] = ["connecting", false];
    this.follow(RETRY);
  }

  /** Asks until the kernel answers: it may be busy, or the front end may only later ask it beside its cells. */
  private follow(wait: number): void {
    this.say({ follow: true });
    this.timer = window.setTimeout(() => this.look(wait), wait);
  }

  private look(wait: number): void {
    const silent = performance.now() - this.heardAt >= SILENCE;
    if (silent) [connection.value, this.told] = ["lost", false];
    if (!this.told) this.follow(Math.min(2 * wait, MOST));
    else this.timer = window.setTimeout(() => this.look(RETRY), RETRY);
  }

  leave(): void {
    this.views -= 1;
    if (this.views) return;
    window.clearTimeout(this.timer);
    this.say({ follow: false });
  }

  close(): void {
    window.clearTimeout(this.timer);
    this.widget.off("msg:custom", this.heard);
  }

  private readonly heard: Heard = (message, buffers) => {
    this.heardAt = performance.now();
    connection.value = "open";
    const { kind, data, series } = message;
    if (kind !== undefined && kind !== "beat") {
      this.told ||= kind !== "delta";
      batch(() => { // else the curves would be asked for
        this.receive(kind, data);
        if (series) this.curves.put(...series, bytes(buffers![0]!));
      });
    }
    if (message.client !== this.client) return; // another view's answer
    const waiting = this.pending.get(message.id!);
    this.pending.delete(message.id!);
    if (message.status === 200) waiting?.done({ document: message.found!, packed: buffers?.[0] });
    else waiting?.failed(new Failure(String(message.found?.error), String(message.found?.hint ?? "")));
  };

  private async binary(address: string): Promise<ArrayBuffer> {
    return bytes((await this.question({ address })).packed!);
  }

  private question(content: Record<string, unknown>): Promise<{ document: Json; packed?: DataView }> {
    const id = ++this.asked;
    return new Promise((done, failed) => {
      this.pending.set(id, { done, failed });
      this.say({ id, ...content });
    });
  }

  /** Where the kernel was restarted, nobody hears this. */
  private say(content: Record<string, unknown>): void {
    try {
      this.widget.send({ client: this.client, ...content });
    } catch {
      connection.value = "lost";
    }
  }
}

function bytes({ buffer, byteOffset, byteLength }: DataView): ArrayBuffer {
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}

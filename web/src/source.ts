// Where the page's data come from: a live server, or the report that holds them. A notebook's panel has its kernel.
import { signal } from "@preact/signals-core";
import type { Document, Model, Plain, Point, Problem } from "./model";
import type { CurveCache } from "./series";

export type Json = Record<string, Plain>;
export interface Answer { run: number; outcome: "applied" | "accepted" | "refused"; text: string; hint: string | null; born: number | null }
export interface Reply { live: boolean; answers: Answer[]; effects?: string[] }

export interface Source {
  readonly live: boolean;
  readonly kind: "server" | "kernel" | "report";
  readonly readOnly: boolean;
  series(split: string, name: string): Promise<ArrayBuffer>;
  times(): Promise<ArrayBuffer>;
  json(path: string): Promise<Json>;
  ask(body: Json): Promise<Reply>;
}

export class Failure extends Error {
  constructor(message: string, readonly hint = "") {
    super(message);
  }
}

export type Connection = "connecting" | "open" | "polling" | "lost" | "refused" | "hidden";
export const connection = signal<Connection>("connecting");

/** The id of a request. `crypto.randomUUID` only exists on pages from this machine, or by https. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const SILENCE = 4000; // milliseconds after which a stream that says nothing is taken to be buffered
const RETRY = 1000;
const POLL = 1000;

export class Server implements Source {
  readonly live = true;
  readonly kind = "server";
  private stream: EventSource | null = null;
  private polls = false;
  private timer = 0;

  /** `experiment` is the name of one, or empty for that with which the server was started. */
  constructor(readonly readOnly: boolean, private readonly experiment: string, private readonly receive: (kind: string, data: unknown) => void, private readonly model: Model) {}

  start(): void {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.stop("hidden");
      else this.open();
    });
    if (!document.hidden) this.open();
  }

  series = (split: string, name: string) => this.binary(this.address("series", { split, metric: name }));
  times = () => this.binary(this.address("times"));

  async json(path: string): Promise<Json> {
    return (await this.fetched(this.address(path))).json();
  }

  /** The address of a path, which may have parameters, in this page's experiment. */
  private address(path: string, parameters: Record<string, string> = {}): string {
    const [place, more] = path.split("?");
    const all = new URLSearchParams({ ...Object.fromEntries(new URLSearchParams(more)), ...parameters, ...(this.experiment ? { experiment: this.experiment } : {}) });
    return `/api/${place}${all.size ? `?${all}` : ""}`;
  }

  async ask(body: Json): Promise<Reply> {
    const response = await this.fetched(this.address("requests"), {
      method: "POST",
      headers: { "content-type": "application/json", "x-rapidfire": "1" },
      body: JSON.stringify({ id: uuid(), ...body }),
    });
    return response.json();
  }

  private async binary(path: string): Promise<ArrayBuffer> {
    return (await this.fetched(path)).arrayBuffer();
  }

  private async fetched(path: string, options: RequestInit = {}): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(path, { credentials: "same-origin", ...options });
    } catch {
      throw new Failure("the server does not answer", "is `rapidfire web` still running?");
    }
    if (response.ok) return response;
    if (response.status === 401) connection.value = "refused";
    const text = await response.text();
    try {
      const found = JSON.parse(text) as { error: string; hint?: string };
      throw new Failure(found.error, found.hint ?? "");
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure(text.trim() || `HTTP ${response.status}`);
    }
  }

  private seen(): Record<string, string> {
    const { journal, seq, state } = this.model;
    return { journal, seq: String(seq), live: state === "running" ? "1" : "0" };
  }

  private open(): void {
    this.stop("connecting");
    if (this.polls) {
      void this.poll();
      return;
    }
    const stream = new EventSource(this.address("stream", this.seen()));
    this.stream = stream;
    let heard = false;
    const waiting = window.setTimeout(() => {
      if (!heard && this.stream === stream) {
        this.polls = true;
        this.open();
      }
    }, SILENCE);
    // The server says hello at once, also where it has nothing new: a proxy that keeps that would keep the rest.
    stream.addEventListener("hello", () => {
      heard = true;
      connection.value = "open";
    });
    for (const kind of ["snapshot", "delta", "empty", "problem"]) {
      stream.addEventListener(kind, (event) => {
        heard = true;
        connection.value = "open";
        this.receive(kind, JSON.parse((event as MessageEvent<string>).data));
      });
    }
    stream.onerror = () => {
      window.clearTimeout(waiting);
      if (this.stream !== stream) return;
      stream.close();
      this.stream = null;
      void this.lost();
    };
  }

  /** Finds out why, and tries again. */
  private async lost(): Promise<void> {
    try {
      await this.fetched("/page.css"); // whether the server is there, and still knows this page
      connection.value = "connecting";
    } catch {
      if ((connection.peek() as Connection) !== "refused") connection.value = "lost";
    }
    if (connection.peek() !== "refused") this.timer = window.setTimeout(() => this.open(), RETRY);
  }

  private async poll(): Promise<void> {
    try {
      const found = (await (await this.fetched(this.address("changes", this.seen()))).json()) as { kind: string; data: unknown } | null;
      connection.value = "polling";
      if (found) this.receive(found.kind, found.data);
    } catch {
      if (connection.peek() !== "refused") connection.value = "lost";
    }
    if (connection.peek() !== "refused") this.timer = window.setTimeout(() => void this.poll(), POLL);
  }

  private stop(state: Connection): void {
    window.clearTimeout(this.timer);
    this.stream?.close();
    this.stream = null;
    connection.value = state;
  }
}

/** Everything that a report holds; `parts` has what a server would answer, by path. */
export interface Held { snapshot: Document; series: Record<string, string>; times: string; parts: Record<string, Json> }

export class Report implements Source {
  readonly live = false;
  readonly kind = "report";
  readonly readOnly = true;

  constructor(private readonly held: Held) {}

  series = (split: string, name: string) => this.buffer(this.held.series[`${split}.${name}`]);
  times = () => this.buffer(this.held.times);

  json(path: string): Promise<Json> {
    const found = this.held.parts[path];
    return found ? Promise.resolve(found) : Promise.reject(new Failure("the report does not hold this"));
  }

  ask(): Promise<Reply> {
    return Promise.reject(new Failure("a report cannot change anything"));
  }

  private buffer(text = "AAAAAAAAAAA="): Promise<ArrayBuffer> {
    return Promise.resolve(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  }
}

/** What training measured in the epochs under way. */
function insideOf({ runs }: Document): Point[] {
  const { number, epoch, step, partial } = runs as { number: number[]; epoch: number[]; step: number[]; partial: Record<string, number | string>[] };
  return partial.flatMap((found, i) => Object.entries(found).map(([name, value]): Point => [number[i]!, epoch[i]! + 1, step[i]!, "train", name, value]));
}

export function receiver(model: Model, curves: CurveCache): (kind: string, data: unknown) => void {
  return (kind, data) => {
    if (kind === "snapshot") {
      performance.mark("rapidfire:snapshot");
      const found = data as Document;
      if (found.journal === model.journal) curves.renew();
      else curves.clear();
      model.snapshot(found);
    } else if (kind === "delta") {
      const found = data as Document;
      curves.add(found.points);
      curves.add(insideOf(found), true);
      model.merge(found);
    } else if (kind === "empty") {
      model.phase.value = { kind: "empty" };
    } else {
      model.phase.value = { kind: "problem", problems: (data as { problems: Problem[] }).problems };
    }
  };
}

// What every adapter from npm has in common; the same as rust/harness, which says more.

import { createInterface } from "node:readline";

const TEXT = "x".repeat(64);
const REPORT_EVERY_MS = 50;

const args = process.argv.slice(3);
const has = (name) => args.includes(name);
const text = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const number = (name) => (text(name) === undefined ? undefined : Number(text(name)));

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const now = () => process.hrtime.bigint();
const payload = (n, t) => ({ n, t, text: TEXT });

let count = 0;
let first = 0n;
let latencies = [];

/** What each handler does: counts itself, notes the latency if that is asked for, and with --hold never returns. */
export function run(job) {
  if (count === 0) first = now();
  count += 1;
  if (job.t !== 0) latencies.push(Number((now() - BigInt(job.t)) / 1000n));
  return hold ? new Promise(() => {}) : undefined;
}

/** Whether handlers shall never return. */
export const hold = has("--hold");

function report() {
  let told = 0;
  setInterval(() => {
    if (count === told) return;
    told = count;
    // Nanoseconds of the machine's uptime fit into a double's 53 bits for a hundred days; beyond, microseconds are lost.
    say({ event: "count", n: count, t: Number(now()), first: Number(first), latencies_us: latencies });
    latencies = [];
  }, REPORT_EVERY_MS);
}

/** Says that the worker is about to begin, and waits for the word to do so. */
export async function ready() {
  say({ event: "ready" });
  for await (const _ of createInterface({ input: process.stdin })) return;
  process.exit(1);
}

function done(jobs, began) {
  say({ event: "done", jobs, seconds: Number(now() - began) / 1e9 });
}

async function enqueue(peer, url) {
  const producer = await peer.producer(url, 1);
  const jobs = number("--jobs");
  const began = now();
  for (let next = 0; next < jobs; ) {
    const end = Math.min(jobs, next + peer.batch);
    await producer.many(Array.from({ length: end - next }, (_, n) => payload(next + n, 0)));
    next = end;
  }
  done(jobs, began);
}

async function single(peer, url) {
  const clients = number("--clients") ?? 1;
  const producer = await peer.producer(url, clients);
  if (has("--paced")) {
    const pause = number("--pause-ms") ?? 0;
    let n = 0;
    for await (const _ of createInterface({ input: process.stdin })) {
      // Pauses of different lengths, so that no poll falls into step with them.
      await new Promise((next) => setTimeout(next, pause * (0.5 + (n % 11) / 10)));
      await producer.one(payload(n, Number(now())));
      n += 1;
    }
    return;
  }
  await Promise.all(Array.from({ length: clients }, (_, n) => producer.one(payload(n, 0))));
  const began = now();
  const until = began + BigInt(number("--seconds")) * 1_000_000_000n;
  let jobs = 0;
  const client = async () => {
    while (now() < until) {
      await producer.one(payload(jobs, 0));
      jobs += 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  done(jobs, began);
}

/**
 * The adapter's main function. A peer has `batch`, `setup(url, settings)`, `producer(url, connections)` with `many(payloads)` and
 * `one(payload)`, and `work(url, settings)`.
 */
export async function main(peer) {
  const url = process.env.DATABASE_URL;
  const settings = text("--settings") ?? "default";
  switch (process.argv[2]) {
    case "setup":
      await peer.setup(url, settings);
      break;
    case "enqueue":
      await enqueue(peer, url);
      break;
    case "single":
      await single(peer, url);
      break;
    case "work":
      report();
      await peer.work(url, settings);
      throw new Error("the worker stopped by itself");
    default:
      throw new Error("usage: setup | enqueue | single | work");
  }
  process.exit(0);
}

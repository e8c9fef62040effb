// What the suites share: running tests, real nodes (by `nodes.py`), and ledgers of increments.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const TEST_WAIT_MS = 120_000;

// Runs tests one after another, prints the score, and ends the process with a code that says it.
export async function run(name, tests) {
  let failed = 0;
  for (const test of tests) {
    const started = Date.now();
    const late = sleep(TEST_WAIT_MS, undefined, { ref: false }).then(() => {
      throw new Error(`not done after ${TEST_WAIT_MS} ms`);
    });
    try {
      await Promise.race([test(), late]);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${test.name}\n${error.stack ?? error}`);
    }
    const tookMs = Date.now() - started;
    if (tookMs > 10_000) console.log(`${name}: ${test.name} took ${tookMs} ms`);
  }
  console.log(`${name}: ${tests.length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

// A cluster of real processes; they end with this process at the latest.
export class Cluster {
  static async start(count, ...settings) {
    const cluster = new Cluster();
    const args = [process.env.KVORUM_NODES_PY, String(count), ...settings];
    cluster.process = spawn("python3", args, { stdio: ["pipe", "pipe", "inherit"] });
    cluster.lines = createInterface({ input: cluster.process.stdout })[Symbol.asyncIterator]();
    await cluster.#read();
    return cluster;
  }

  async #read() {
    const { value, done } = await this.lines.next();
    assert(!done, "the nodes are gone");
    const said = JSON.parse(value);
    if (said.ports) Object.assign(this, said);
  }

  // Orders: look, kill (the leader, -9), transfer (leadership), restart (what was killed).
  async order(word) {
    this.process.stdin.write(`${word}\n`);
    await this.#read();
  }

  followers() {
    return this.ports.filter((port) => port !== this.leader);
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.stdin.end("quit\n");
    await ended;
  }
}

export async function withCluster(count, settings, use) {
  const cluster = await Cluster.start(count, ...settings);
  try {
    await use(cluster);
  } finally {
    await cluster.stop();
  }
}

// Waits until `reached` says so.
export async function waitUntil(what, reached, waitMs = 40_000) {
  const ends = Date.now() + waitMs;
  while (!(await reached())) {
    assert(Date.now() < ends, `waited in vain until ${what}`);
    await sleep(10);
  }
}

// Calls `increment` (which resolves to the new value) until stopped; what it was told is kept.
export class Counting {
  acked = 0;
  unknown = 0;
  stopping = false;

  constructor(increment) {
    this.done = this.#count(increment);
  }

  async #count(increment) {
    let last = 0;
    while (!this.stopping) {
      try {
        const value = Number(await increment());
        assert(value > last, `${value} after ${last}`);
        last = value;
        this.acked += 1;
      } catch (error) {
        if (error.code === "ERR_ASSERTION") {
          this.failure = error;
          return;
        }
        if (!/^(CLUSTERDOWN|TRYAGAIN|MOVED)/.test(error.message)) {
          this.unknown += 1;
          this.lastError = error;
        }
        await sleep(10);
      }
    }
  }

  async more(count) {
    const wanted = this.acked + count;
    await waitUntil(
      `${wanted} increments are acknowledged (${this.acked} are, last: ${this.lastError})`,
      () => this.failure || this.acked >= wanted,
    );
    if (this.failure) throw this.failure;
  }

  async finish(read) {
    this.stopping = true;
    await this.done;
    const value = Number(await read());
    const counts = `${value}: ${this.acked} acknowledged, ${this.unknown} unknown`;
    assert(this.acked <= value && value <= this.acked + this.unknown, counts);
  }
}

// Writes distinct keys, each until it is acknowledged; the client may try again by itself.
export class Writing {
  acked = 0;
  stopping = false;

  constructor(set) {
    this.done = this.#write(set);
  }

  async #write(set) {
    while (!this.stopping) {
      try {
        await set(`written:${this.acked}`, String(this.acked));
        this.acked += 1;
      } catch (error) {
        this.lastError = error;
        await sleep(20);
      }
    }
  }

  async more(count) {
    const wanted = this.acked + count;
    await waitUntil(`${wanted} writes (${this.acked} are, last: ${this.lastError})`, () => {
      return this.acked >= wanted;
    });
  }

  async finish(get) {
    this.stopping = true;
    await this.done;
    for (let number = 0; number < this.acked; number += 1) {
      assert.equal(await get(`written:${number}`), String(number));
    }
  }
}

// Two transfers and two deaths of the leader, with load before, between and after them. A client
// that `finds` another leader by itself must do so while the dead one is still down.
export async function changeLeaders(cluster, loads, finds = true) {
  const loaded = async () => {
    for (const load of loads) await load.more(15);
  };
  for (const change of ["transfer", "kill", "transfer", "kill"]) {
    await loaded();
    await cluster.order(change);
    if (finds) await loaded();
    if (change === "kill") await cluster.order("restart");
  }
  await loaded();
}

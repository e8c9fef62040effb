// node-redis, versions 5 and 6, RESP2 and RESP3: one node, a cluster, failovers.
//
// Usage: node-redis.js 5|6 2|3

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Counting, Writing, changeLeaders, run, waitUntil, withCluster } from "./suite.js";

const packageName = { 5: "redis5", 6: "redis" }[process.argv[2]];
const RESP = Number(process.argv[3]);
const { createClient, createCluster, createClientPool, WatchError } = await import(packageName);
const { version } = JSON.parse(readFileSync(`node_modules/${packageName}/package.json`));

// Errors of connections that come back are no news; those of requests reach their promises.
const open = (client) => client.on("error", () => {}).connect();
const connect = (port, options = {}) =>
  open(createClient({ RESP, socket: { host: "127.0.0.1", port }, ...options }));

function connectCluster(cluster, options = {}) {
  const rootNodes = cluster.ports.map((port) => ({ url: `redis://127.0.0.1:${port}` }));
  return open(createCluster({ RESP, rootNodes, ...options }));
}

async function oneNode() {
  await withCluster(1, [], async ({ leader }) => {
    const redis = await connect(leader);
    assert.equal(await redis.set("a", "1"), "OK");
    assert.equal(await redis.set("a", "2", { EX: 100, NX: true }), null);
    assert.equal(await redis.get("nothing"), null);
    assert.equal(await redis.incrBy("a", 41), 42);
    assert.equal(await redis.set("long", "x".repeat(1_000_000)), "OK");
    assert.equal(await redis.strLen("long"), 1_000_000);
    assert.equal(await redis.mSet({ x: "1", y: "2" }), "OK");
    assert.deepEqual(await redis.mGet(["x", "nothing", "y"]), ["1", null, "2"]);
    assert.equal(await redis.incrByFloat("x", 0.5), "1.5");
    await assert.rejects(redis.incr("long"), /value is not an integer/);
    await redis.set("brief", "v", { PX: 50 });
    await waitUntil("the key has expired", async () => (await redis.exists("brief")) === 0);
    assert.match(await redis.info("server"), /redis_version:7\.0\.15/);
    assert.deepEqual({ ...(await redis.configGet("databases")) }, { databases: "16" });
    assert.equal((await redis.clientInfo()).db, 0);
    assert.equal((await redis.commandCount()) > 50, true);

    const other = await connect(leader, { database: 3, name: "named" });
    await other.set("only", "here");
    assert.equal(await redis.exists("only"), 0);
    assert.equal(await other.dbSize(), 1);
    assert.equal(await other.clientGetName(), "named");
    await Promise.all([redis.close(), other.close()]);
  });
}

async function pipelinesTransactionsScans() {
  await withCluster(1, [], async ({ leader }) => {
    const redis = await connect(leader);
    const sets = Array.from({ length: 1000 }, (_, at) => redis.set(`p:${at}`, String(at)));
    await Promise.all(sets);
    const counted = await Promise.all(Array.from({ length: 300 }, () => redis.incr("many")));
    assert.deepEqual(counted, Array.from({ length: 300 }, (_, at) => at + 1));
    assert.deepEqual(await redis.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"]);

    const rival = await connect(leader);
    await redis.watch("m");
    await rival.set("m", "changed");
    await assert.rejects(redis.multi().set("m", "lost").exec(), WatchError);
    assert.equal(await redis.get("m"), "changed");

    const found = new Set();
    for await (const keys of redis.scanIterator({ MATCH: "p:9*", COUNT: 100 })) {
      keys.forEach((key) => found.add(key));
    }
    assert.equal(found.size, 111);

    const pool = createClientPool({ RESP, socket: { host: "127.0.0.1", port: leader } });
    await pool.connect();
    await Promise.all(Array.from({ length: 200 }, () => pool.incr("pooled")));
    assert.equal(await pool.get("pooled"), "200");
    await Promise.all([redis.close(), rival.close(), pool.close()]);
  });
}

async function restartIsSurvived() {
  await withCluster(1, [], async (cluster) => {
    const redis = await connect(cluster.leader);
    await redis.set("kept", "yes");
    await cluster.order("kill");
    await cluster.order("restart");
    await waitUntil("the client is back", async () => {
      return (await redis.get("kept").catch(() => null)) === "yes";
    });
    redis.destroy();
  });
}

async function clusterOfThree() {
  await withCluster(3, [], async (cluster) => {
    const redis = await connectCluster(cluster);
    for (let number = 0; number < 100; number += 1) await redis.set(`k${number}`, String(number));
    for (let number = 0; number < 100; number += 1) {
      assert.equal(await redis.get(`k${number}`), String(number));
    }
    assert.deepEqual(redis.masters.map((node) => node.port), [cluster.leader]);
    assert.deepEqual(await redis.multi().set("{t}a", "1").incr("{t}a").exec(), ["OK", 2]);
    await redis.close();

    const replicas = await connectCluster(cluster, { useReplicas: true });
    assert.equal(replicas.replicas.length, 2);
    await waitUntil("replicas answer", async () => (await replicas.get("k99")) === "99");
    for (let number = 0; number < 100; number += 1) {
      assert.equal(await replicas.get(`k${number}`), String(number));
    }
    await replicas.close();

    const follower = await connect(cluster.followers()[0]);
    await assert.rejects(follower.set("foo", "1"), new RegExp(`MOVED 12182 .*:${cluster.leader}`));
    assert.equal(await follower.get("k7"), "7");
    await follower.close();
  });
}

async function failoversOfTheCluster() {
  await withCluster(3, [], async (cluster) => {
    // The client's offline queue does not send again what was sent already, so both ledgers are
    // exact; redirects are followed, since what was redirected had no effect.
    const redis = await connectCluster(cluster, {
      defaults: { socket: { reconnectStrategy: () => 50 } },
    });
    const writing = new Writing((key, value) => redis.set(key, value));
    const counting = new Counting(() => redis.incr("n"));
    // Version 5 reconnects to a dead leader until that is back and names another.
    await changeLeaders(cluster, [writing, counting], process.argv[2] !== "5");
    await counting.finish(() => redis.get("n"));
    await writing.finish((key) => redis.get(key));
    redis.destroy();
  });
}

async function failoversBehindAForwardingFollower() {
  await withCluster(3, ["follower-writes=forward"], async (cluster) => {
    const redis = await connect(cluster.followers()[0]);
    const counting = new Counting(() => redis.incr("n"));
    await counting.more(20);
    await cluster.order("kill");
    await counting.more(20);
    await cluster.order("restart");
    await cluster.order("transfer");
    await counting.more(20);
    await counting.finish(() => redis.get("n"));
    redis.destroy();
  });
}

await run(`node-redis ${version} RESP${RESP}`, [
  oneNode,
  pipelinesTransactionsScans,
  restartIsSurvived,
  clusterOfThree,
  failoversOfTheCluster,
  failoversBehindAForwardingFollower,
]);

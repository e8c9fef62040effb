// ioredis, versions 5 (RESP2) and 6 (RESP3): one node, a cluster, failovers.
//
// Usage: ioredis.js 5|6

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Counting, Writing, changeLeaders, run, waitUntil, withCluster } from "./suite.js";

const packageName = { 5: "ioredis5", 6: "ioredis" }[process.argv[2]];
const { Redis, Cluster } = await import(packageName);
const { version } = JSON.parse(readFileSync(`node_modules/${packageName}/package.json`));

const connect = (port, options = {}) => quiet(new Redis({ port, host: "127.0.0.1", ...options }));

// Errors of connections that come back are no news; those of requests reach their promises.
function quiet(client) {
  client.on("error", () => {});
  return client;
}

function connectCluster(cluster, options = {}) {
  const nodes = cluster.ports.map((port) => ({ host: "127.0.0.1", port }));
  return quiet(new Cluster(nodes, { clusterRetryStrategy: () => 50, ...options }));
}

async function oneNode() {
  await withCluster(1, [], async ({ leader }) => {
    const redis = connect(leader);
    assert.equal(await redis.set("a", "1"), "OK");
    assert.equal(await redis.set("a", "2", "EX", 100, "NX"), null);
    assert.equal(await redis.get("nothing"), null);
    assert.equal(await redis.incrby("a", 41), 42);
    const binary = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 256));
    await redis.set("binary", binary);
    assert(binary.equals(await redis.getBuffer("binary")));
    await redis.mset({ x: "1", y: "2" });
    assert.deepEqual(await redis.mget("x", "nothing", "y"), ["1", null, "2"]);
    await assert.rejects(redis.incr("binary"), /value is not an integer/);
    await redis.set("brief", "v", "PX", 50);
    await waitUntil("the key has expired", async () => (await redis.exists("brief")) === 0);
    assert.match(await redis.info("server"), /redis_version:7\.0\.15/);
    assert.equal((await redis.config("GET", "databases")).length ?? 2, 2);
    assert.equal((await redis.time()).length, 2);

    const other = connect(leader, { db: 3, connectionName: "named" });
    await other.set("only", "here");
    assert.equal(await redis.exists("only"), 0);
    assert.equal(await other.dbsize(), 1);
    assert.equal(await other.client("GETNAME"), "named");
    await Promise.all([redis.quit(), other.quit()]);
  });
}

async function pipelinesTransactionsScans() {
  await withCluster(1, [], async ({ leader }) => {
    const redis = connect(leader);
    const pipeline = redis.pipeline();
    for (let number = 0; number < 1000; number += 1) pipeline.set(`p:${number}`, number).incr("n");
    const replies = await pipeline.exec();
    assert(replies.every(([error]) => error === null));
    assert.equal(replies[1999][1], 1000);
    assert.deepEqual(await redis.multi().set("m", "1").incr("m").get("m").exec(), [
      [null, "OK"],
      [null, 2],
      [null, "2"],
    ]);

    const rival = connect(leader);
    await redis.watch("m");
    await rival.set("m", "changed");
    assert.equal(await redis.multi().set("m", "lost").exec(), null);
    assert.equal(await redis.get("m"), "changed");

    const found = new Set();
    for await (const keys of redis.scanStream({ match: "p:9*", count: 100 })) {
      keys.forEach((key) => found.add(key));
    }
    assert.equal(found.size, 111);
    const counted = await Promise.all(Array.from({ length: 300 }, () => redis.incr("many")));
    assert.deepEqual(counted, Array.from({ length: 300 }, (_, at) => at + 1));
    const automatic = connect(leader, { enableAutoPipelining: true });
    await Promise.all(Array.from({ length: 100 }, (_, at) => automatic.get(`p:${at}`)));
    await Promise.all([redis.quit(), rival.quit(), automatic.quit()]);
  });
}

async function restartIsSurvived() {
  await withCluster(1, [], async (cluster) => {
    const redis = connect(cluster.leader, { maxRetriesPerRequest: null });
    await redis.set("kept", "yes");
    await cluster.order("kill");
    const waiting = redis.get("kept");
    await cluster.order("restart");
    assert.equal(await waiting, "yes");
    redis.disconnect();
  });
}

async function clusterOfThree() {
  await withCluster(3, [], async (cluster) => {
    const redis = connectCluster(cluster);
    for (let number = 0; number < 100; number += 1) await redis.set(`k${number}`, number);
    for (let number = 0; number < 100; number += 1) {
      assert.equal(await redis.get(`k${number}`), String(number));
    }
    assert.equal(redis.nodes("master")[0].options.port, cluster.leader);
    assert.equal(redis.nodes("slave").length, 2);
    assert.deepEqual(await redis.pipeline().set("{t}a", "1").incr("{t}a").exec(), [
      [null, "OK"],
      [null, 2],
    ]);
    assert.deepEqual(await redis.multi().incr("{t}a").incr("{t}a").exec(), [
      [null, 3],
      [null, 4],
    ]);
    await redis.quit();

    const replicas = connectCluster(cluster, { scaleReads: "slave" });
    await waitUntil("replicas answer", async () => (await replicas.get("k99")) === "99");
    for (let number = 0; number < 100; number += 1) {
      assert.equal(await replicas.get(`k${number}`), String(number));
    }
    await replicas.quit();

    const follower = connect(cluster.followers()[0]);
    await assert.rejects(follower.set("foo", "1"), new RegExp(`MOVED 12182 .*:${cluster.leader}`));
    assert.equal(await follower.get("k7"), "7");
    await follower.quit();
  });
}

async function failoversOfTheCluster() {
  await withCluster(3, [], async (cluster) => {
    // One client tries again by itself, which is harmless with SET; the other must not, so that
    // its ledger is exact.
    const retrying = connectCluster(cluster);
    const strict = connectCluster(cluster, {
      retryDelayOnFailover: 0,
      redisOptions: { maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false },
      maxRedirections: 1,
    });
    const writing = new Writing((key, value) => retrying.set(key, value));
    const counting = new Counting(() => strict.incr("n"));
    await changeLeaders(cluster, [writing, counting]);
    await counting.finish(() => retrying.get("n"));
    await writing.finish((key) => retrying.get(key));
    retrying.disconnect();
    strict.disconnect();
  });
}

async function failoversBehindAForwardingFollower() {
  await withCluster(3, ["follower-writes=forward"], async (cluster) => {
    const redis = connect(cluster.followers()[0], {
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
    const counting = new Counting(() => redis.incr("n"));
    await counting.more(20);
    await cluster.order("kill");
    await counting.more(20);
    await cluster.order("restart");
    await cluster.order("transfer");
    await counting.more(20);
    await counting.finish(() => redis.get("n"));
    redis.disconnect();
  });
}

await run(`ioredis ${version}`, [
  oneNode,
  pipelinesTransactionsScans,
  restartIsSurvived,
  clusterOfThree,
  failoversOfTheCluster,
  failoversBehindAForwardingFollower,
]);

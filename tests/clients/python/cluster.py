"""redis-py's cluster client against three nodes, through kill -9 and transfer of the leader.

Usage: cluster.py PROTOCOL (2 or 3). Prints `N passed, N failed`.
"""

import asyncio
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import redis
import redis.asyncio.cluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from nodes import Cluster
from suite import Counting, equal, in_threads, raises, run

PROTOCOL = int(sys.argv[1])


def client(cluster, **options):
    nodes = [ClusterNode("127.0.0.1", node.port) for node in cluster.running()]
    return RedisCluster(startup_nodes=nodes, protocol=PROTOCOL, socket_timeout=20, **options)


def the_shape_of_the_cluster(cluster):
    r = client(cluster)
    equal([node.port for node in r.get_primaries()], [cluster.leader().port])
    replicas = sorted(node.port for node in r.get_replicas())
    equal(replicas, sorted(node.port for node in cluster.followers()))
    assert r.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_state"] == "ok"
    nodes = r.cluster_nodes()
    roles = sorted(one["flags"].replace("myself,", "") for one in nodes.values())
    equal(roles, ["master", "slave", "slave"])
    equal(len(r.cluster_shards()), 1)
    equal(r.cluster_keyslot("foo"), 12182)


def keys_of_all_slots(cluster):
    r = client(cluster)
    r.flushall()
    for number in range(200):
        equal(r.set(f"key:{number}", number), True)
    for number in range(200):
        equal(r.get(f"key:{number}"), b"%d" % number)
    equal(r.dbsize(target_nodes=RedisCluster.PRIMARIES), 200)
    equal(r.mget_nonatomic("key:1", "no", "key:2"), [b"1", None, b"2"])
    equal(r.mset_nonatomic({"a": 1, "b": 2}), [True] * 2)
    equal(len(set(r.scan_iter("key:*", count=50))), 200)
    equal(r.delete("key:1", "key:2"), 2)
    equal(r.exists("key:1", "key:3"), 1)


def pipelines_and_transactions(cluster):
    r = client(cluster)
    r.delete("{t}n", "{t}m")
    pipe = r.pipeline()
    for number in range(100):
        pipe.set(f"pipe:{number}", number)
        pipe.incr("{t}n")
    equal(pipe.execute()[1::2], list(range(1, 101)))
    if not hasattr(r, "transaction") or redis.__version__.startswith("5."):
        return

    def add(pipe):
        value = int(pipe.get("{t}m") or 0)
        pipe.multi()
        pipe.set("{t}m", value + 1)

    in_threads(3, lambda _: [client(cluster).transaction(add, "{t}m") for _ in range(10)])
    equal(r.get("{t}m"), b"30")


def reads_from_replicas(cluster):
    try:
        from redis.cluster import LoadBalancingStrategy

        options = {"load_balancing_strategy": LoadBalancingStrategy.ROUND_ROBIN_REPLICAS}
    except ImportError:
        options = {"read_from_replicas": True}
    r = client(cluster, **options)

    def reads():
        followers = cluster.followers()
        stats = [node.info("commandstats").get("cmdstat_get", "calls=0,") for node in followers]
        return [int(stat.split("calls=")[1].split(",")[0]) for stat in stats]

    r.set("seen", "everywhere")
    before = reads()
    ends = time.monotonic() + 10
    while r.get("seen") != b"everywhere":
        assert time.monotonic() < ends, "a replica does not follow"
    for _ in range(60):
        equal(r.get("seen"), b"everywhere")
    assert all(now > then for now, then in zip(reads(), before)), f"{before} {reads()}"


def many_at_once_without_threads(cluster):
    async def main():
        r = redis.asyncio.cluster.RedisCluster(
            host="127.0.0.1", port=cluster.followers()[0].port, protocol=PROTOCOL
        )
        await r.delete("async")
        at_once = asyncio.Semaphore(40)

        async def increment():
            async with at_once:
                return await r.incr("async")

        counted = await asyncio.gather(*[increment() for _ in range(200)])
        equal(sorted(counted), list(range(1, 201)))
        pipe = r.pipeline()
        for number in range(50):
            pipe.set(f"async:{number}", number)
        equal(await pipe.execute(), [True] * 50)
        await r.aclose()

    asyncio.run(main())


def an_error_stays_an_error(cluster):
    r = client(cluster)
    r.set("text", "x")
    raises(redis.ResponseError, "not an integer", lambda: r.incr("text"))


class Writing:
    """Threads that write distinct keys until each is acknowledged: again when the client gave up.

    redis-py tries again at once and without a pause, which does not outlast an election.
    """

    RETRIED = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterDownError)

    def __init__(self, clients):
        self.clients = clients
        self.acked = [0] * len(clients)
        self.failure = None
        self.stopping = False
        writer = lambda at: threading.Thread(target=self._write, args=(at,), daemon=True)
        self.threads = [writer(at) for at in range(len(clients))]
        for thread in self.threads:
            thread.start()

    def _write(self, at):
        while not self.stopping:
            try:
                number = self.acked[at] + 1
                self.clients[at].set(f"acked:{at}:{number}", number)
                self.acked[at] = number
            except self.RETRIED:
                time.sleep(0.05)
            except Exception as error:
                if not str(error).startswith("UNKNOWN"):
                    self.failure = error
                    return

    def wait_for(self, more):
        wanted = [count + more for count in self.acked]
        ends = time.monotonic() + 40
        while any(count < want for count, want in zip(self.acked, wanted)):
            assert self.failure is None, f"a write ended with {self.failure!r}"
            assert time.monotonic() < ends, f"{self.acked} of {wanted}"
            time.sleep(0.01)

    def finish(self, reader):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer does not end"
        assert self.failure is None, f"a write ended with {self.failure!r}"
        for at, count in enumerate(self.acked):
            for number in range(1, count + 1):
                equal(reader.get(f"acked:{at}:{number}"), b"%d" % number)


def failovers(cluster):
    """Two transfers and two deaths of the leader under load, and nothing acknowledged is lost."""
    strict_options = {"retry": Retry(NoBackoff(), 0)}
    if redis.__version__.startswith("5."):
        strict_options["cluster_error_retry_attempts"] = 0
    strict = client(cluster, **strict_options)

    def is_refused(error):
        refused = (redis.exceptions.MovedError, redis.exceptions.ClusterDownError)
        return isinstance(error, refused) or str(error).startswith("TRYAGAIN")

    unknown = (redis.RedisError,)
    counting = Counting(strict, "counter", unknown, is_refused)
    # Threads that share a client of version 5 break each other's connections in a failover.
    writing = Writing([client(cluster), client(cluster)])
    steps = [cluster.transfer, cluster.kill_leader, cluster.restart] * 2
    for step in steps:
        writing.wait_for(15)
        counting.wait_for(15)
        step()
    writing.wait_for(15)
    counting.wait_for(15)
    fresh = client(cluster)
    counting.finish(fresh)
    writing.finish(fresh)


def main():
    with Cluster(3) as cluster:
        tests = [
            the_shape_of_the_cluster, keys_of_all_slots, pipelines_and_transactions,
            reads_from_replicas, many_at_once_without_threads, an_error_stays_an_error, failovers,
        ]
        titled = [(test.__name__, lambda test=test: test(cluster)) for test in tests]
        run(f"redis-py {redis.__version__} RESP{PROTOCOL} cluster", titled)


main()

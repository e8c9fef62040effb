"""redis-py's plain client against one node, and through a follower that forwards.

Usage: standalone.py PROTOCOL (2 or 3). Prints `N passed, N failed`.
"""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from nodes import Cluster
from suite import Counting, equal, in_threads, raises, run

PROTOCOL = int(sys.argv[1])


def client(port, **options):
    return redis.Redis(port=port, protocol=PROTOCOL, socket_timeout=20, **options)


def values_of_every_kind(port):
    r = client(port)
    r.flushall()
    equal(r.ping(), True)
    equal(r.set("a", "1"), True)
    equal(r.set("a", "2", nx=True), None)
    equal(r.set("a", "2", xx=True, get=True), b"1")
    equal(r.get("nothing"), None)
    binary = bytes(range(256)) * 100
    r.set(binary[:300], binary)
    equal(r.get(binary[:300]), binary)
    equal(r.mset({"x": 1, "y": 2}), True)
    equal(r.mget("x", "nothing", "y"), [b"1", None, b"2"])
    equal(r.incrbyfloat("f", 1.5), 1.5)
    equal([r.append("x", "23"), r.strlen("x"), r.getrange("x", 0, 1)], [3, 3, b"12"])
    equal(r.setrange("x", 5, "z"), 6)
    equal(r.get("x"), b"123\0\0z")
    equal([r.exists("x", "y", "no"), r.delete("x", "no"), r.unlink("y")], [2, 1, 1])
    equal(r.lcs("a", "f", len=True), 0)
    equal([r.rename("a", "b"), r.type("b"), r.copy("b", "c"), r.dbsize()], [True, b"string", True, 4])
    equal(r.object("encoding", "b"), b"int")
    equal(client(port, decode_responses=True).get("b"), "2")
    raises(redis.ResponseError, "value is not an integer", lambda: r.incr(binary[:300]))
    raises(redis.ResponseError, "unknown command", lambda: r.execute_command("NOSUCH"))


def deadlines(port):
    r = client(port)
    r.set("t", "v", px=80)
    assert 0 < r.pttl("t") <= 80
    equal([r.ttl("nothing"), r.expire("nothing", 5)], [-2, False])
    r.set("u", "v", ex=100)
    equal([r.expire("u", 50, gt=True), r.expire("u", 500, gt=True)], [False, True])
    equal([r.persist("u"), r.ttl("u"), r.getex("u", ex=10), r.ttl("u")], [True, -1, b"v", 10])
    ends = asyncio.run(_gone(port))
    assert ends, "the key did not expire"


async def _gone(port):
    for _ in range(200):
        if client(port).exists("t") == 0:
            return True
        await asyncio.sleep(0.02)
    return False


def pipelines(port):
    r = client(port)
    for transaction in (False, True):
        r.delete("p")
        pipe = r.pipeline(transaction=transaction)
        for number in range(1000):
            pipe.incr("p").set(f"p:{number}", number)
        replies = pipe.execute()
        equal(replies[0::2], list(range(1, 1001)))
        assert all(reply is True for reply in replies[1::2])
    pipe = r.pipeline()
    pipe.set("p", "text").incr("p").get("p")
    replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and isinstance(replies[1], redis.ResponseError), replies
    equal(replies[2], b"text")
    pipe = r.pipeline().execute_command("NOSUCH").set("p", "after")
    raises(redis.ResponseError, "unknown command", pipe.execute)
    equal(r.get("p"), b"text")


def watched_transactions(port):
    r = client(port)
    r.set("w", 0)
    with r.pipeline() as pipe:
        pipe.watch("w")
        r.set("w", 5)
        pipe.multi()
        pipe.set("w", 1)
        try:
            pipe.execute()
            raise AssertionError("EXEC in spite of a change")
        except redis.WatchError:
            pass
    r.set("w", 0)

    def add(pipe):
        value = int(pipe.get("w"))
        pipe.multi()
        pipe.set("w", value + 1)

    in_threads(4, lambda _: [client(port).transaction(add, "w") for _ in range(15)])
    equal(r.get("w"), b"60")


def counters_without_locks(port):
    r = client(port)
    r.delete("n")
    seen = []
    in_threads(8, lambda _: seen.extend(client(port).incr("n") for _ in range(50)))
    equal(sorted(seen), list(range(1, 401)))


def databases(port):
    zero, three = client(port), client(port, db=3)
    zero.flushall()
    zero.set("k", "zero")
    three.mset({"k": "three", "only": 1})
    equal([zero.get("k"), three.get("k"), zero.exists("only")], [b"zero", b"three", 0])
    equal([zero.dbsize(), three.dbsize()], [1, 2])
    equal([three.move("only", 0), zero.get("only")], [True, b"1"])
    equal(zero.info("keyspace")["db3"]["keys"], 1)
    three.flushdb()
    equal([zero.dbsize(), three.dbsize()], [2, 0])
    raises(redis.ResponseError, "out of range", lambda: client(port, db=99).ping())


def scans(port):
    r = client(port)
    r.flushall()
    r.mset({f"scan:{number}": number for number in range(500)})
    r.mset({f"other:{number}": number for number in range(500)})
    equal(len(set(r.scan_iter(count=37))), 1000)
    equal(set(r.scan_iter("scan:4?")), {b"scan:4%d" % digit for digit in range(10)})
    equal(len(set(r.scan_iter(_type="string", count=1000))), 1000)
    equal(list(r.scan_iter(_type="hash")), [])
    equal(len(r.keys("other:*")), 500)
    assert r.randomkey() is not None


def what_the_client_parses(port):
    r = client(port, client_name="parser")
    info = r.info()
    equal([info["role"], info["loading"], info["process_id"] > 0], ["master", 0, True])
    equal([info["db0"]["keys"] > 0, info["redis_version"]], [True, "7.0.15"])
    for section in ("everything", "commandstats", "latencystats", "raft", "keyspace", "memory"):
        assert r.info(section), section
    equal(r.client_getname() in ("parser", b"parser"), True)
    own = [one for one in r.client_list() if one["name"] == "parser"]
    equal([len(own), own[0]["id"], own[0]["lib-name"] != ""], [1, str(r.client_id()), True])
    equal(r.client_info()["db"] in ("0", 0), True)
    equal(r.config_get("databases")["databases"], "16")
    assert len(r.config_get("*")) > 30
    equal([r.config_set("slowlog-max-len", 99)], [True])
    equal(r.config_get("slowlog-max-len"), {"slowlog-max-len": "99"})
    commands = r.command()
    equal([commands["set"]["arity"], commands["get"]["first_key_pos"]], [-3, 1])
    equal(r.command_count(), len(commands))
    found = r.command_getkeys("MSET", "a", 1, "b", 2)
    assert found in ([b"a", b"b"], ["a", "b"]), found
    assert abs(r.time()[0] - r.lastsave().timestamp()) < 1e9
    equal([r.slowlog_reset(), r.slowlog_len(), r.slowlog_get()], [True, 0, []])
    r.set("m", "x" * 1000)
    assert r.memory_usage("m") >= 1000
    equal(r.role()[0] in (b"master", "master"), True)
    equal([r.echo("e"), r.wait(0, 10)], [b"e", 0])
    equal(r.cluster("keyslot", "foo"), 12182)
    hello = r.execute_command("HELLO", PROTOCOL)
    assert b"proto" in hello or "proto" in hello, hello


def passwords(_port):
    with Cluster(1) as cluster:
        port = cluster.nodes[0].port
        client(port).config_set("requirepass", "first")
        equal(client(port, password="first").set("a", 1), True)
        equal(client(port, username="default", password="first").get("a"), b"1")
        raises(redis.AuthenticationError, "", lambda: client(port).get("a"))
        raises(redis.AuthenticationError, "", lambda: client(port, password="x").get("a"))


def many_at_once_without_threads(port):
    async def main():
        pool = redis.asyncio.BlockingConnectionPool(
            port=port, protocol=PROTOCOL, max_connections=60, timeout=20
        )
        r = redis.asyncio.Redis(connection_pool=pool)
        await r.delete("async")
        counted = await asyncio.gather(*[r.incr("async") for _ in range(200)])
        equal(sorted(counted), list(range(1, 201)))
        async with r.pipeline(transaction=True) as pipe:
            equal(await pipe.set("q", 1).incr("q").execute(), [True, 2])
        found = {key async for key in r.scan_iter("q*")}
        equal(found, {b"q"})
        await r.aclose()
        await pool.disconnect()

    asyncio.run(main())


def a_restart_is_survived_by_the_same_client(_port):
    with Cluster(1) as cluster:
        r = client(cluster.nodes[0].port, retry=Retry(NoBackoff(), 3))
        r.set("kept", "yes")
        cluster.nodes[0].kill()
        cluster.restart()
        equal(r.get("kept"), b"yes")


def a_follower_redirects(_port):
    with Cluster(3) as cluster:
        leader, follower = cluster.leader(), cluster.followers()[0]
        r = client(follower.port)
        raises(redis.ResponseError, f"127.0.0.1:{leader.port}", lambda: r.set("foo", "bar"))
        client(leader.port).set("foo", "bar")
        equal(r.get("foo"), b"bar")
        equal([r.readonly(), r.readwrite()], [True, True])
        pipe = r.pipeline(transaction=True).set("foo", "no")
        raises(redis.ResponseError, "", pipe.execute)
        equal(r.get("foo"), b"bar")


def failovers_behind_a_follower_that_forwards(_port):
    """A plain client that knows one address counts on while leaders die and step down."""
    with Cluster(3, "follower-writes=forward") as cluster:
        follower = cluster.followers()[0]
        r = client(follower.port, retry=Retry(NoBackoff(), 0))

        def is_refused(error):
            return str(error).startswith(("CLUSTERDOWN", "TRYAGAIN", "MOVED"))

        unknown = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)
        counting = Counting(r, "n", unknown, is_refused)
        counting.wait_for(30)
        cluster.transfer()
        counting.wait_for(30)
        if cluster.leader() is not follower:
            cluster.kill_leader()
        else:
            cluster.followers()[0].kill()
        counting.wait_for(30)
        cluster.restart()
        counting.wait_for(30)
        counting.finish(r)


def main():
    with Cluster(1) as cluster:
        port = cluster.nodes[0].port
        tests = [
            values_of_every_kind, deadlines, pipelines, watched_transactions,
            counters_without_locks, databases, scans, what_the_client_parses, passwords,
            many_at_once_without_threads, a_restart_is_survived_by_the_same_client,
            a_follower_redirects, failovers_behind_a_follower_that_forwards,
        ]
        titled = [(test.__name__, lambda test=test: test(port)) for test in tests]
        run(f"redis-py {redis.__version__} RESP{PROTOCOL} standalone", titled)


main()

"""Kvorum processes for tests written in other languages than Rust.

As a module: `Cluster`. As a program (`nodes.py COUNT [NAME=VALUE ...]`): a cluster that a test in
any language steers by lines on standard input (`kill`, `transfer`, `restart`, `quit`), each
answered by one line of JSON. All nodes end with the program (unless that is killed), and the program
ends with its standard input.

The binary is named by KVORUM_BINARY. Every wait is bounded.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PORTS = range(27000, 27400)
PEER_PORT_OFFSET = 500
WAIT_S = 40
_next_port = os.getpid() % len(PORTS)


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def _free_port():
    global _next_port
    for _ in PORTS:
        port = PORTS[_next_port % len(PORTS)]
        _next_port += 1
        if _is_free(port) and _is_free(port + PEER_PORT_OFFSET):
            return port
    raise RuntimeError(f"no free port in {PORTS}")


def ask(port, line, wait_s=5.0):
    """The reply to an inline command, raw; bulk strings without their header."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        connection.sendall(line.encode() + b"\r\n")
        reply = connection.makefile("rb")
        head = reply.readline()
        if not head.endswith(b"\r\n"):
            raise ConnectionError("closed without a reply")
        if head.startswith(b"$") and head != b"$-1\r\n":
            return reply.read(int(head[1:]) + 2)[:-2].decode()
        return head[:-2].decode()


class Node:
    def __init__(self, root, settings):
        self.port = _free_port()
        self.peer_port = self.port + PEER_PORT_OFFSET
        self.dir = os.path.join(root, f"node-{self.port}")
        self.output = self.dir + ".output"
        self.args = [word for setting in settings for word in ("--set", setting)]
        self.process = None

    def start(self):
        # What is set for the tests is not meant for the node, which reads such names as settings.
        env = {name: value for name, value in os.environ.items() if not name.startswith("KVORUM_")}
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [os.environ["KVORUM_BINARY"], "start", "--data-dir", self.dir]
                + ["--listen", f"127.0.0.1:{self.port}"]
                + ["--peer-listen", f"127.0.0.1:{self.peer_port}"]
                + self.args,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self):
        """kill -9"""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def info(self, section):
        """Fields of INFO; none while the node does not answer."""
        try:
            lines = ask(self.port, f"INFO {section}", wait_s=2).splitlines()
        except (OSError, ValueError):
            return {}
        return dict(line.split(":", 1) for line in lines if ":" in line)


class Cluster:
    """Nodes that belong together, below one temporary directory, started and with a leader."""

    def __init__(self, count, *settings):
        self.root = tempfile.mkdtemp(prefix="kvorum-clients-")
        self.nodes = [Node(self.root, settings) for _ in range(count)]
        if count > 1:
            everyone = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
            for node in self.nodes:
                node.args += ["--bootstrap-expect", str(count), "--join", everyone]
        try:
            for node in self.nodes:
                node.start()
            self.leader()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def running(self):
        return [node for node in self.nodes if node.process]

    def leader(self):
        """The leader, once all running nodes agree on it and it sees them."""
        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            ended = [node for node in self.running() if node.process.poll() is not None]
            if ended:
                raise RuntimeError(f"a node ended by itself:\n{self.outputs()}")
            infos = [(node, node.info("raft")) for node in self.running()]
            leaders = [one for one in infos if one[1].get("raft_role") == "leader"]
            if len(leaders) == 1:
                leader, figures = leaders[0]
                followed = all(
                    info.get("raft_leader_id") == figures["raft_node_id"] for _, info in infos
                )
                seen = leader.info("replication").get("connected_slaves")
                if followed and seen == str(len(infos) - 1):
                    return leader
            time.sleep(0.02)
        raise RuntimeError(f"no leader within {WAIT_S} s:\n{self.outputs()}")

    def outputs(self):
        """The end of what the nodes wrote."""
        texts = []
        for node in self.nodes:
            with open(node.output, errors="replace") as output:
                texts.append(output.read()[-2000:])
        return "\n".join(texts)

    def followers(self):
        leader = self.leader()
        return [node for node in self.running() if node is not leader]

    def kill_leader(self):
        """kill -9 of the leader; returns at once, before another is elected."""
        leader = self.leader()
        leader.kill()
        return leader

    def transfer(self):
        """Leadership goes to another node; returns when that is so."""
        old = self.leader()
        ends = time.monotonic() + WAIT_S
        reply = "not asked"
        while time.monotonic() < ends:
            reply = ask(old.port, "RAFT.TRANSFER_LEADER", wait_s=20)
            if reply == "+OK" and self.leader() is not old:
                return
            time.sleep(0.1)
        raise RuntimeError(f"leadership was not transferred: {reply}")

    def restart(self):
        """Starts every node that was killed, and waits until they follow."""
        for node in self.nodes:
            if not node.process:
                node.start()
        self.leader()


def _steer(cluster):
    def say():
        leader = cluster.leader().port
        ports = [node.port for node in cluster.running()]
        print(json.dumps({"ports": ports, "leader": leader}), flush=True)

    say()
    for line in sys.stdin:
        order = line.strip()
        if order == "kill":
            killed = cluster.kill_leader()
            print(json.dumps({"killed": killed.port}), flush=True)
        elif order == "transfer":
            cluster.transfer()
            say()
        elif order == "restart":
            cluster.restart()
            say()
        elif order == "look":
            say()
        else:
            return


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with Cluster(int(sys.argv[1]), *sys.argv[2:]) as started:
        _steer(started)

"""What both Python suites share: running tests one by one, and keeping ledgers of increments."""

import sys
import threading
import time
import traceback


def run(name, tests):
    """Runs `(title, function)` one after another, prints the score; the exit code says it too."""
    failed = 0
    for title, test in tests:
        started = time.monotonic()
        try:
            test()
        except Exception:  # Each test is reported, whatever it ended with.
            failed += 1
            print(f"FAILED {name}: {title}\n{traceback.format_exc()}", flush=True)
        took = time.monotonic() - started
        if took > 10:
            print(f"{name}: {title} took {took:.1f} s", flush=True)
    print(f"{name}: {len(tests) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def equal(got, expected):
    assert got == expected, f"got {got!r}, expected {expected!r}"


def raises(kind, text, call):
    """The call ends with this error, whose text contains `text`."""
    try:
        got = call()
    except kind as error:
        assert text in str(error), f"got {error!r}, expected a text with {text!r}"
        return
    raise AssertionError(f"got {got!r}, expected {kind.__name__}: {text}")


def in_threads(count, work):
    """Runs work(0) to work(count - 1) at once; the first failure is raised."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(at,), daemon=True) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread does not end"
    if failures:
        raise failures[0]


class Counting:
    """A thread that increments a counter and writes down what it was told.

    `acked`: answered increments; `unknown`: those that ended with a lost connection or with an
    outcome that the server calls unknown; `refused`: those that certainly had no effect.
    """

    def __init__(self, client, key, unknown_errors, is_refused):
        self.client, self.key = client, key
        self.unknown_errors, self.is_refused = unknown_errors, is_refused
        self.acked = self.unknown = self.refused = 0
        self.values = []
        self.failure = None
        self.stopping = False
        self.thread = threading.Thread(target=self._count, daemon=True)
        self.thread.start()

    def _count(self):
        while not self.stopping:
            try:
                self.values.append(self.client.incr(self.key))
                self.acked += 1
            except Exception as error:
                if self.is_refused(error):
                    self.refused += 1
                elif isinstance(error, self.unknown_errors):
                    self.unknown += 1
                else:
                    self.failure = error
                    return
                time.sleep(0.02)

    def wait_for(self, more, within_s=40):
        """Waits until so many more increments were answered."""
        wanted, ends = self.acked + more, time.monotonic() + within_s
        while self.acked < wanted:
            assert self.failure is None, f"an increment ended with {self.failure!r}"
            assert time.monotonic() < ends, f"only {self.acked} of {wanted}: {self.counts()}"
            time.sleep(0.01)

    def counts(self):
        return f"{self.acked} acked, {self.unknown} unknown, {self.refused} refused"

    def finish(self, reader):
        """Stops, and compares the ledger with the counter's value."""
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive() and self.failure is None, f"{self.failure!r}"
        value = int(reader.get(self.key))
        assert self.acked <= value <= self.acked + self.unknown, f"{value}: {self.counts()}"
        rising = all(one < two for one, two in zip(self.values, self.values[1:]))
        assert rising, "an increment was answered by a number that was given before"
        assert value >= self.values[-1], f"{value} after {self.values[-1]}"

"""One contract for all queues: the suite is inherited by each, and none of them bends it."""

from tests.queues import test_conformance, test_redis
from unitrack.queues import BUILT_IN
from unitrack.testing import QueueConformance

#: Who tests the queue of a scheme.
SUITES = {
    "memory": test_conformance.TestMemory,
    "sqlite": test_conformance.TestSqlite,
    "redis": test_redis.TestRedis,
    "rediss": test_redis.TestRedis,
    "unix": test_redis.TestRedis,
}


def test_Q16_the_same_suite_for_every_queue() -> None:
    """Memory, SQLite and Redis pass the same tests of order, leases, bounds, dead letters and survival, unchanged."""
    assert SUITES.keys() == BUILT_IN.keys()
    rules = {name for name in dir(QueueConformance) if name.startswith("test_")}
    assert len(rules) > 40
    for suite in SUITES.values():
        assert issubclass(suite, QueueConformance)
        assert not rules & vars(suite).keys(), "a rule is bent"

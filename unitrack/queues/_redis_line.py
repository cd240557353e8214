"""The line to a broker: connected when needed, at rest while the broker is away, and fit to be trusted or not used.

What goes wrong here is told in our own words, with no cause: those of redis-py could hold an address or an answer.
"""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError, QueueError
from ..late import load
from ..logs import printable
from ._redis_address import Address

#: Seconds for one answer, and for a connection.
ANSWER, CONNECT = 5.0, 2.0
#: Seconds between attempts to reach a broker that is away: the first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: A broker that must not be used is looked at again after so long.
UNFIT_PAUSE = 2.0


class BrokerAway(QueueError):
    """The broker cannot be used right now."""


class BrokerRefused(BrokerAway):
    """The broker is there, but will not do this."""


class Line:
    """Sends commands, one at a time for each thread that asks; repeats none.

    Args:
        address: where the broker is.
        allow_unsafe: use it even if it may lose what it is given.

    Raises:
        ConfigError: redis-py is missing, or does not take the address.
    """

    def __init__(self, address: Address, *, allow_unsafe: bool) -> None:
        self._address = address
        self._allow_unsafe = allow_unsafe
        self._lock = threading.RLock()
        self._client: Any = None
        self._fit = False
        self._pause = FIRST_PAUSE
        self._again_at = 0.0
        #: What was wrong the last time; ``None``: nothing. Holds no password.
        self.trouble: str | None = None
        #: Grows whenever the broker was away: what it knew of us may be gone.
        self.times_lost = 0
        try:
            self._errors: Any = load("redis.exceptions")
        except ModuleNotFoundError:
            raise ConfigError("a queue in a broker needs redis-py: pip install 'unitrack-sdk[redis]'") from None
        self._make().close()

    def pause(self) -> float:
        """Return for how many seconds nobody should try to reach the broker."""
        return max(0.0, self._again_at - time.monotonic())

    def look(self, timeout: float) -> None:
        """Look at the broker once, and leave no connection behind.

        Raises:
            ConfigError: it may lose messages, or does not let us in; the text says what to set.
        """
        client = self._make(timeout)
        try:
            complaint = self._complaint(client)
        except Exception as error:  # noqa: BLE001  redis-py raises its own, the system's, and those of ssl
            complaint = self._refusal(error)  # one that is merely away is no mistake of anybody's
        finally:
            client.close()
        if complaint is not None:
            raise ConfigError(f"queue {self._address.shown}: {complaint}")

    def danger(self) -> str | None:
        """Say why the broker may lose what it was given, and what to set; ``None`` if it keeps it.

        Raises:
            BrokerAway: as :meth:`run`.
        """
        return _danger({**self.call("INFO", "persistence"), **self.call("INFO", "memory")})

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; the broker keeps it for the next time.

        Raises:
            BrokerAway: it could not be reached, or its answer did not come.
            BrokerRefused: it would not do it.
        """
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        answer = self.call("EVALSHA", sha, len(keys), *keys, *args)
        return self.call("EVAL", script, len(keys), *keys, *args) if answer is _UNKNOWN else answer

    def call(self, *command: Any) -> Any:
        """Send one command; as :meth:`run`."""
        if self.pause():
            raise BrokerAway(self.trouble or f"the broker at {self._address.shown} was away a moment ago")
        try:
            with self._lock:
                if self._client is None:
                    self._client = self._make()
                client = self._client
                if not self._fit:
                    complaint = self._complaint(client)
                    if complaint is not None:
                        raise _Unfit(complaint)
                    self._fit = True
            answer = client.execute_command(*command)
        except self._errors.NoScriptError:
            return _UNKNOWN
        except Exception as error:  # noqa: BLE001  as above
            failure = self._note(error)
        else:
            self._pause = FIRST_PAUSE
            self.trouble = None
            return answer
        raise failure

    def close(self) -> None:
        """Let go of all connections; the next call makes new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _make(self, timeout: float | None = None) -> Any:
        retry, backoff, redis = load("redis.retry"), load("redis.backoff"), load("redis")
        settings = {
            "socket_timeout": timeout or ANSWER,
            "socket_connect_timeout": timeout or CONNECT,
            "health_check_interval": 10,
            # Its own retries would write a second time what a lost reply leaves in doubt.
            "retry": retry.Retry(backoff.NoBackoff(), 0),
            "decode_responses": False,
            "protocol": 2,
        }
        try:
            return redis.Redis.from_url(str(self._address.url), **settings)
        except Exception:  # noqa: BLE001  its text could hold the address
            raise ConfigError(f"queue {self._address.shown}: redis-py does not take this address") from None

    def _note(self, error: Exception) -> BrokerAway:
        """Rest after a failure, unless the broker answered and only this one command was wrong."""
        why = self._refusal(error)
        if why is None and isinstance(error, self._errors.ResponseError):
            if "NOGROUP" in str(error):
                self.times_lost += 1  # somebody emptied it
            self.trouble = said = f"the broker at {self._address.shown} says: {_said(error)}"
            return BrokerRefused(said)
        with self._lock:
            unfit = isinstance(error, _Unfit)
            self.trouble = said = f"the broker at {self._address.shown}: {why or _said(error)}"
            self._again_at = time.monotonic() + (UNFIT_PAUSE if unfit or why else self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._fit = False
            self.times_lost += 1
            return BrokerAway(said)

    def _refusal(self, error: Exception) -> str | None:
        errors = self._errors
        if isinstance(error, errors.NoPermissionError):
            return "the user may not use all commands, or keys of this prefix; allow them in the ACL"
        if isinstance(error, (errors.AuthenticationError, errors.AuthenticationWrongNumberOfArgsError)):
            return "it does not accept the user or the password"
        if isinstance(error, errors.ResponseError) and str(error).startswith(("NOAUTH", "WRONGPASS")):
            return "it does not accept the user or the password"
        if isinstance(error, errors.ResponseError) and str(error).startswith(_NO_DATABASE):
            return "it has no database with this number; 0 is always there"
        return None

    def _complaint(self, client: Any) -> str | None:
        facts = {**client.info("server"), **client.info("persistence"), **client.info("memory")}
        if int(str(facts.get("redis_version", "0")).partition(".")[0]) < 7:
            return "Redis 7.0 or Valkey is needed"
        if not self._allow_unsafe and (complaint := _danger(facts)):
            return complaint
        key = f"{{{self._address.prefix}}}:partitions"
        if (there := client.get(key)) is None:  # looked at first: a broker without memory lets nobody set anything
            client.set(key, self._address.partitions, nx=True)
            there = client.get(key)
        if there is not None and int(there) != self._address.partitions:
            return f"it has {int(there)} partitions under this prefix; say partitions={int(there)}, or another prefix"
        return None


class _Unfit(Exception):
    """The broker answers, but should not be used."""


#: How a broker says that there is no such database, alone and in a cluster.
_NO_DATABASE = ("DB index is out of range", "SELECT is not allowed in cluster mode")
#: The broker does not know a script yet.
_UNKNOWN = object()


def _said(error: Exception) -> str:
    return printable(error if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__)


def _danger(facts: Mapping[str, Any]) -> str | None:
    """Say why a broker may lose what it was given, and what to set."""
    if not facts.get("aof_enabled"):
        return (
            "it forgets messages when it stops; set appendonly yes there,"
            " or allow_unsafe_broker = true here if that is all right"
        )
    if facts.get("maxmemory") and facts.get("maxmemory_policy") != "noeviction":
        return (
            f"it throws messages away when memory is short; set maxmemory-policy noeviction there, not"
            f" {facts.get('maxmemory_policy')}, or allow_unsafe_broker = true here if that is all right"
        )
    return None

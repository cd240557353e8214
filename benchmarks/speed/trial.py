"""One measurement of one client, in a fresh process of its own environment.

Tells what it found on its standard output, a JSON object a line, and waits for a line on its standard input where the
program that started it has something to do first. Every loop is bounded, in count or in time.
"""

# ruff: noqa: BLE001, S110  clients raise what they like

import gc
import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from .driver import Driver
from .drivers import DRIVERS
from .event import EVENTS, WARM_UP, plain, user_id

Told = dict[str, Any]

PAGE = os.sysconf("SC_PAGE_SIZE")
CALLERS = 8
CHILD_LIMIT = 12
CHILD_MARKS = 1_000

_clock = time.perf_counter_ns


class Trial:
    """What every measurement needs.

    Args:
        told: where facts go; the client may print to the standard output as it likes.
        options: of the part that is played: ``url``, ``events``, ``capacity``, ….
    """

    def __init__(self, driver: Driver, told: Any, options: Told) -> None:
        self.driver = driver
        self._told = told
        self.url: str = options.get("url", "")
        self.events: int = options.get("events", 0)
        self.capacity: int | None = options.get("capacity")
        self.users: int = options.get("users", 5_000)
        self.rate: float = options.get("rate", 1_000.0)
        self.destinations: int = options.get("destinations", 1)
        self.limit: float = options.get("limit", 60.0)
        self.modules: Sequence[str] = options.get("modules", driver.modules)
        self.properties = EVENTS[options.get("event", "plain")]
        driver.scratch, driver.broker = options.get("scratch", ""), options.get("broker", "")

    def tell(self, **facts: Any) -> None:
        print(json.dumps(facts), file=self._told, flush=True)

    def wait(self) -> None:
        sys.stdin.readline()

    def start(self) -> None:
        self.driver.start(self.url, self.capacity)

    def warm_up(self, events: int | None = None) -> None:
        """Send a few events that are not counted, so that code is loaded and a connection stands."""
        for number in range(events or (20 if self.driver.per_event else 200)):
            self.driver.track(user_id(number), plain(number, WARM_UP))
        self.driver.flush()
        time.sleep(0.1)

    def calls(self, first: int, count: int, times: "array[int]", pause: float = 0.0) -> Told:
        """Track so many events, and time each call alone: what it is called with is made before."""
        track, properties, users = self.driver.track, self.properties, self.users
        taken = raised = 0
        began = time.monotonic_ns()
        for number in range(first, first + count):
            if pause:
                time.sleep(max(0.0, (began + (number - first) * pause * 1e9 - time.monotonic_ns()) / 1e9))
            who, what = user_id(number, users), properties(number)
            called = _clock()
            try:
                took = track(who, what)
            except Exception:
                took, raised = None, raised + 1
            times[number - first] = _clock() - called
            taken += bool(took)
        return {"began": began, "called": time.monotonic_ns(), "taken": taken, "raised": raised}

    def flush(self) -> bool:
        """Flush for as long as the limit allows; False if the client needs longer or raises."""
        done: list[bool] = []

        def flush() -> None:
            try:
                self.driver.flush()
                done.append(True)
            except Exception:
                pass

        thread = threading.Thread(target=flush, daemon=True)
        thread.start()
        thread.join(self.limit)
        return bool(done)


def quantiles(times: Sequence[int]) -> Told:
    """Sum up the nanoseconds of many calls in microseconds."""
    ordered = sorted(times)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e3

    return {"p50": at(0.5), "p99": at(0.99), "worst": ordered[-1] / 1e3}


def empty(count: int) -> "array[int]":
    """Return room for so many times, touched, so that it does not count as memory of the client's."""
    return array("q", bytes(8 * count))


def resident() -> int:
    """Return the bytes of memory that this process has, 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123  pathlib would be one more import to measure
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return 0


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def imports(trial: Trial) -> None:
    known, memory, began = set(sys.modules), resident(), _clock()
    for name in trial.modules:
        importlib.import_module(name)
    took = (_clock() - began) / 1e6
    new = [name for name in sys.modules if name not in known]
    installed = [name for name in new if "site-packages" in (getattr(sys.modules[name], "__file__", None) or "")]
    own = {name.partition(".")[0] for name in trial.driver.modules}
    foreign = [name for name in installed if name.partition(".")[0] not in own]
    trial.tell(ms=took, memory=resident() - memory, modules=len(new), foreign=foreign)


def throughput(trial: Trial) -> None:
    trial.start()
    trial.warm_up()
    times = empty(trial.events)
    gc.collect()
    used = processor()
    trial.tell(warm=True)
    trial.wait()
    facts = trial.calls(0, trial.events, times)
    flushed = trial.flush()
    facts |= {"flushed_at": time.monotonic_ns(), "flushed": flushed, "processor": processor() - used}
    trial.tell(**facts, **quantiles(times))
    trial.wait()  # until the last event is there: not every flush waits for it
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    trial.tell(processor_in_all=processor() - used, peak=peak, reported=trial.driver.reported())


def paced(trial: Trial) -> None:
    trial.start()
    trial.warm_up(20)
    times = empty(trial.events)
    trial.tell(warm=True)
    trial.wait()
    facts = trial.calls(0, trial.events, times, pause=1 / trial.rate)
    trial.tell(**facts, **quantiles(times), flushed=trial.flush())


def callers(trial: Trial) -> None:
    trial.start()
    trial.warm_up()
    count = trial.events // CALLERS
    room = [empty(count) for _ in range(CALLERS)]
    start_line = threading.Barrier(CALLERS + 1)

    def call(at: int) -> None:
        start_line.wait()
        trial.calls(at * count, count, room[at])

    threads = [threading.Thread(target=call, args=(at,)) for at in range(CALLERS)]
    for thread in threads:
        thread.start()
    gc.collect()
    trial.tell(warm=True)
    trial.wait()
    start_line.wait()
    began = time.monotonic_ns()
    for thread in threads:
        thread.join()
    took = (time.monotonic_ns() - began) / 1e9
    trial.tell(
        seconds=took, events=count * CALLERS, flushed=trial.flush(), **quantiles([ns for one in room for ns in one])
    )


def memory(trial: Trial) -> None:
    if trial.destinations > 1:
        trial.driver.start_fan(_addresses(trial), trial.capacity)
    else:
        trial.start()
    for number in range(100):  # nobody answers, so there is nothing to flush
        trial.driver.track(user_id(number), plain(number, WARM_UP))
    time.sleep(1.0)
    times = empty(trial.events)
    gc.collect()
    before = resident()
    facts = trial.calls(0, trial.events, times)
    gc.collect()
    trial.tell(**facts, **quantiles(times), memory=resident() - before)


def fan(trial: Trial) -> None:
    trial.driver.start_fan(_addresses(trial), trial.capacity)
    for number in range(200):
        trial.driver.track(user_id(number), plain(number, WARM_UP))
    time.sleep(1.0)  # one of them may never answer, so a flush would not return
    times = empty(trial.events)
    gc.collect()
    used = processor()
    trial.tell(warm=True)
    trial.wait()
    facts = trial.calls(0, trial.events, times)
    flushed = trial.flush()
    trial.tell(**facts, **quantiles(times), flushed=flushed, processor=processor() - used)


def _addresses(trial: Trial) -> list[str]:
    return [f"{trial.url}/d{at}" for at in range(1, trial.destinations + 1)]


def lone(trial: Trial) -> None:
    trial.start()
    trial.warm_up(1)
    for number in range(trial.events):
        trial.wait()
        trial.tell(called=time.monotonic_ns())
        trial.driver.track(user_id(number), plain(number))
    trial.wait()


def leave(trial: Trial) -> None:
    """Track, and let the script end: what it registered with the interpreter decides."""
    trial.start()
    facts = trial.calls(0, trial.events, empty(trial.events))
    trial.tell(**facts)


def fork(trial: Trial) -> None:
    trial.start()
    trial.warm_up(50)
    trial.calls(0, trial.events, empty(trial.events))  # these wait while it forks
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
        signal.alarm(CHILD_LIMIT)
        try:
            trial.calls(CHILD_MARKS, trial.events, empty(trial.events))
            trial.driver.flush()
            time.sleep(1.0)
        except BaseException:
            os._exit(4)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    trial.tell(child=code, flushed=trial.flush())
    trial.wait()


def outage(trial: Trial) -> None:
    trial.start()
    trial.warm_up(20)
    times = empty(trial.events)
    trial.tell(warm=True)
    trial.wait()
    facts = trial.calls(0, trial.events, times, pause=1 / trial.rate)
    trial.tell(**facts, **quantiles(times))
    trial.tell(flushed=trial.flush())
    trial.wait()


def killed(trial: Trial) -> None:
    """Track, and die before anything was delivered."""
    trial.start()
    facts = trial.calls(0, trial.events, empty(trial.events))
    trial.tell(**facts)
    os.kill(os.getpid(), signal.SIGKILL)


def recover(trial: Trial) -> None:
    """Send what another process left behind."""
    trial.start()
    trial.driver.track(user_id(0), plain(0, WARM_UP))
    trial.tell(flushed=trial.flush())
    trial.wait()


PARTS: dict[str, Callable[[Trial], None]] = {
    part.__name__: part
    for part in (imports, throughput, paced, callers, memory, fan, lone, leave, fork, outage, killed, recover)
}


def main() -> None:
    """Play ``PART DRIVER OPTIONS`` of the command line."""
    part, driver, options = sys.argv[1:]
    logging.disable(logging.CRITICAL)  # some log every event
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the client prints is no fact
    PARTS[part](Trial(DRIVERS[driver], told, json.loads(options)))
    if part != "leave":
        os._exit(0)  # closing is not what is measured here, and some never end

"""The rows of the comparison: what the server does, what the program does, and how the outcome reads."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sink import Answer, Answers, Sink

#: Longer than any client should need; what takes longer is shown as ``> 12 s``.
PATIENCE = 12.0


@dataclass
class Run:
    """What is known after one cell."""

    here: Sink
    elsewhere: Sink
    #: The exit code; ``None`` if the process had to be killed.
    code: int | None
    seconds: float
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        return self.here.delivered()


#: The text of a cell, and whether it is what one may ask for.
Reading = tuple[str, bool]


@dataclass(frozen=True)
class Situation:
    """One row.

    Attributes:
        wanted: what a cell must read to earn its mark.
        program: the function of ``cell.py``.
        answers: what the server does.
        expected: marks after whose arrival the program may go on.
        patience: seconds that the program is given for them.
    """

    title: str
    wanted: str
    program: str
    read: Callable[[Run], Reading]
    answers: Answers = lambda number, seconds: Answer()
    expected: int = 200
    patience: float = PATIENCE
    #: Where a redirect leads is only known when the second server listens.
    redirect: int | None = None
    #: Runs, of which the one with the shortest longest call is shown: another program may have had the processor.
    runs: int = 1


def _all(run: Run) -> Reading:
    count = run.delivered
    ended = ", never ends" if run.code is None else ""
    return f"{count}{_again(run)}{ended}", count == 200 and not run.here.duplicates and not ended


def _handled(run: Run) -> Reading:
    if run.facts.get("nothing"):
        return "has none", False
    return f"{run.delivered}, exit {run.code}", run.delivered == 200 and run.code == -15


def _all_of_them(run: Run) -> Reading:
    return f"{run.delivered}{_again(run)}", run.delivered == 200


def _again(run: Run) -> str:
    return f", {run.here.duplicates} twice" if run.here.duplicates else ""


def _child(run: Run) -> Reading:
    count = run.here.delivered(range(1, 201))
    return (f"{count}, child hangs" if run.facts.get("hangs") else f"{count}{_again(run)}"), count == 200


def _fork_pending(run: Run) -> Reading:
    hangs = ", child hangs" if run.facts.get("hangs") else ""
    good = run.delivered == 100 and not run.here.duplicates and not hangs
    return f"{run.delivered}{_again(run)}{hangs}", good


def _fork_load(run: Run) -> Reading:
    hanging, forks = run.facts.get("hanging", 0), run.facts.get("forks", 0)
    return f"{hanging:g} of {forks:g} hang", not hanging and forks == 30


def _redirect(run: Run) -> Reading:
    if run.elsewhere.got:
        got = run.elsewhere.got
        events = len({mark for request in got for mark in request.marks})
        text = f"followed as {got[0].method}, {events} events"
        text += ", **with the key**" if any(request.has_key for request in got) else ""
    else:
        text = "not followed"
    for what in ("succeeded", "failed", "kept"):
        if count := run.facts.get(what):
            text += f", {count:g} told *{what}*" if what != "kept" else f", {count:g} kept"
    if not any(run.facts.get(what) for what in ("succeeded", "failed", "kept")):
        text += ", nothing told"
    return text, not run.elsewhere.got and not run.facts.get("succeeded")


def _retry_after(run: Run) -> Reading:
    gap = run.here.wait_after_first()
    if gap is None:
        return f"{run.delivered}, never tried again", False
    return f"{run.delivered} after {gap:.1f} s", gap >= 3.0 and run.delivered == 200


def _close(run: Run) -> Reading:
    took = run.facts.get("close")
    return _seconds(took), took is not None and took <= PATIENCE


def _seconds(took: float | None) -> str:
    return f"{took:.1f} s" if took is not None and took <= PATIENCE else f"> {PATIENCE:g} s"


def _sent_and_closed(run: Run) -> Reading:
    text, closed = _close(run)
    failed = run.facts.get("failed", 0)
    told = f", {failed:g} told *failed*" if failed else ""
    return f"{run.delivered}{told}, close {text}", closed and run.delivered + failed >= 200


def _given_up(run: Run) -> Reading:
    told, took = run.facts.get("failed", 0), run.facts.get("flush")
    text = f"{told:g} told, " if told else "nothing told, "
    return text + f"flush {_seconds(took)}", told == 200 and took is not None and took <= PATIENCE


def _after_close(run: Run) -> Reading:
    took = run.facts.get("seconds")
    if took is None:
        return "hangs", False
    return f"{took:.1f} s", took < 1.0


def _bad_values(run: Run) -> Reading:
    good = run.here.delivered(range(30))
    raised = run.facts.get("raised", 3)
    return f"raises {raised:g} of 3, {good} of 30 good", raised == 0 and good == 30


def _longest(run: Run) -> Reading:
    took, raised = run.facts.get("longest"), run.facts.get("raised", 0)
    if took is None:
        return "blocks", False
    text = f"{took * 1e3:.0f} ms" + (f", {raised:g} raised" if raised else "")
    return text, took <= 0.020 and not raised


def _once(answer: Answer) -> Answers:
    return lambda number, seconds: Answer() if number else answer


def _for(seconds: float, answer: Answer) -> Answers:
    return lambda number, passed: answer if passed < seconds else Answer()


def _always(answer: Answer) -> Answers:
    return lambda number, seconds: answer


_HANG = Answer(wait=60.0)

SITUATIONS = (
    Situation("the script ends without a flush", "200, and it ends", "ends", _all),
    Situation("SIGTERM, no handler of the program's own", "200", "sigterm", _all_of_them),
    Situation(
        "SIGTERM, with a handler that the client brings", "200, and the exit status stays", "sigterm_handled", _handled
    ),
    Situation("SIGKILL", "200", "sigkill", _all_of_them),
    Situation("fork after the first event, the child sends 200", "200", "fork_first", _child),
    Situation(
        "fork with 50 waiting, 50 more in the child", "100, none twice", "fork_pending", _fork_pending,
        answers=_always(Answer(wait=0.3)), expected=100,
    ),
    Situation("fork while four threads track and flush", "no child hangs", "fork_load", _fork_load),
    Situation(
        "302 to another host", "no request there, no success told", "all_and_flush", _redirect, redirect=302
    ),
    Situation(
        "307 to another host", "no request there, no success told", "all_and_flush", _redirect, redirect=307
    ),
    Situation(
        "429 once, `Retry-After: 3`", "200, not before 3 s", "all_and_flush", _retry_after,
        answers=_once(Answer(429, {"Retry-After": "3"})),
    ),
    Situation(
        "429 once, `Retry-After: 99999999`, then `close`", "within 12 s; 200 sent or told", "close_after_all",
        _sent_and_closed, answers=_once(Answer(429, {"Retry-After": "99999999"})),
    ),
    Situation(
        "429 once, `Retry-After: soon`", "200", "all_and_flush", _all_of_them,
        answers=_once(Answer(429, {"Retry-After": "soon"})),
    ),
    Situation(
        "400 for ever", "200 told, within 12 s", "all_and_flush", _given_up, answers=_always(Answer(400)), expected=-1
    ),
    Situation(
        "401 for two seconds, then the key is good", "200", "all_and_flush", _all_of_them,
        answers=_for(2.0, Answer(401)), patience=45.0,
    ),
    Situation("the first connection is reset", "200", "all_and_flush", _all_of_them, answers=_once(Answer(0))),
    Situation("`track` and `close` after `close`", "within 1 s", "after_close", _after_close),
    Situation(
        "a cycle, bytes, a tuple as key, 30 good events around them", "raises nothing, 30 good", "bad_values",
        _bad_values, expected=33,
    ),
    Situation(
        "20,000 events, the server hangs: longest call", "20 ms at most", "burst", _longest, answers=_always(_HANG),
        runs=3,
    ),
    Situation(
        "20,000 events, the server hangs, then `close`", "within 12 s", "burst_and_close", _close,
        answers=_always(_HANG),
    ),
)  # fmt: skip

"""The conformance suite bites: a sound provider passes all of it, and each fault is caught by the test named here."""

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import time as what_time
from typing import Any, ClassVar
from uuid import uuid4

import attrs
import pytest
from attrs import evolve, field, frozen

from unitrack.answers import outcome_of
from unitrack.errors import Unsupported
from unitrack.message import Message, Track
from unitrack.testing import ProviderConformance
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Rejected, Request, Response, Retry

from .acme import Acme

SECRET = "s3cr3t-value"


class TestASoundProvider(ProviderConformance):
    provider = Acme(api_key=SECRET)
    secrets = frozenset({SECRET})


def suite(faulty: Any, **attributes: Any) -> Any:
    """Return the suite for a provider, as a test class of a user's would."""
    own = {"provider": faulty, "secrets": {SECRET}} | attributes
    return type("Suite", (ProviderConformance,), own)()


def able(**changes: Any) -> Capabilities:
    return evolve(Acme.capabilities, **changes)


def patched(part: Part, old: bytes, new: bytes) -> Part:
    return evolve(part, body=part.body.replace(old, new))


# Faults of the settings.


@frozen(kw_only=True)
class SecretInRepr(Acme):
    api_key: str = field()


@attrs.define(kw_only=True)
class NotFrozen:
    name: ClassVar[str] = "acme"
    capabilities: ClassVar[Capabilities] = Acme.capabilities
    api_key: str
    base_url: str = "https://api.acme.example"
    encode, request, outcomes = Acme.encode, Acme.request, Acme.outcomes


class NameOfTwoWords(Acme):
    name = "Acme Inc"


class NameOfAnother(Acme):
    name = "hightouch"


@frozen(kw_only=True)
class CannotBeCopied(Acme):
    lock: threading.Lock = field(factory=threading.Lock, eq=False)


# Faults of the capabilities and refusals.


class UnknownKind(Acme):
    capabilities = able(accepts=frozenset({"identify", "track", "purchase"}))


class UnknownMember(Acme):
    capabilities = able(carries=frozenset({"contexts"}))


class NoRoom(Acme):
    capabilities = able(max_batch=0)


class ClaimsAnIdentity(Acme):
    capabilities = able(identities=("user_id", "phone"))

    def encode(self, message: Message) -> Part:
        if message.user_id is None:
            raise Unsupported("Acme needs user_id")
        return super().encode(message)


class NeedsNoIdentity(Acme):
    def encode(self, message: Message) -> Part:
        return super().encode(evolve(message, user_id=message.user_id or "nobody"))


class TakesAnything(Acme):
    def encode(self, message: Message) -> Part:
        event = message if isinstance(message, Track) else Track(user_id=message.user_id, event=message.kind)
        return super().encode(event)


class RefusesNamelessly(Acme):
    capabilities = able(refusals={"page": "not supported"})


# Faults of encode.


class RandomIds(Acme):
    def encode(self, message: Message) -> Part:
        return super().encode(evolve(message, message_id=str(uuid4())))


class Mutates(Acme):
    def encode(self, message: Message) -> Part:
        message.context.data["library"] = "acme"  # type: ignore[attr-defined]
        return super().encode(message)


class WritesNan(Acme):
    def encode(self, message: Message) -> Part:
        return patched(super().encode(message), b'"tenant":null', b'"tenant":NaN')


class WritesNamesTwice(Acme):
    def encode(self, message: Message) -> Part:
        return patched(super().encode(message), b'{"id"', b'{"user":"x","id"')


class Truncates(Acme):
    def encode(self, message: Message) -> Part:
        part = super().encode(message)
        return part if len(part.body) < 8_000 else super().encode(evolve(message, properties={}, traits={}))


class ClaimsToCarry(Acme):
    def encode(self, message: Message) -> Part:
        return super().encode(evolve(message, tenant_id=None))


class ChokesOnNames(Acme):
    def encode(self, message: Message) -> Part:
        str(message.user_id).encode("ascii")
        return super().encode(message)


# Faults of request.


class SecretInUrl(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        request = super().request(parts, now)
        return evolve(request, url=f"{request.url}?key={self.api_key}")


class SecretInPath(Acme):
    def encode(self, message: Message) -> Part:
        return evolve(super().encode(message), path=f"/v1/{self.api_key}/items")


class NewEveryTime(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        request = super().request(parts, now)
        return evolve(request, headers={**request.headers, "X-Request-Id": str(uuid4())})


class ElsewhereUrl(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return evolve(super().request(parts, now), url="https://api.acme.example.org/v1/items")


class FixedUrl(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return evolve(super().request(parts, now), url="https://api.acme.example" + parts[0].path)


class WrongType(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return evolve(super().request(parts, now), headers={"Content-Type": "text/plain"})


class MessageInHeader(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        request = super().request(parts, now)
        return evolve(request, headers={**request.headers, "X-Items": "1\r\nX-Admin: 1"})


class EnvelopeTooSmall(Acme):
    capabilities = able(envelope_bytes=2)


class EnvelopeOneByteTooSmall(Acme):
    capabilities = able(envelope_bytes=Acme.capabilities.envelope_bytes - 1)


class SendsTheFirst(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return super().request(parts[:1], now)


class SendsBackwards(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        return super().request(parts[::-1], now)


# Faults of outcomes.


class OneVerdict(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return [outcome_of(response)]


class ChokesOnBadJson(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        import json

        return [Delivered() if json.loads(response.body) else Rejected("no")] * len(parts)


class TrustsTypes(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        from unitrack.answers import json_body

        answer = json_body(response) or {}
        return [Rejected(answer["message"]) if "message" in answer else outcome_of(response)] * len(parts)


class SecretInReason(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        verdict = outcome_of(response, reason=f"the key {self.api_key} was refused")
        return [verdict] * len(parts)


class BlamesTheMessage(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        verdict = Delivered() if response.status < 300 else Rejected("no", response.status)
        return [verdict] * len(parts)


class NeverGivesUp(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        verdict = Delivered() if response.status < 300 else Retry("no", 7.0, response.status)
        return [verdict] * len(parts)


class IgnoresRetryAfter(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return super().outcomes(evolve(response, headers={}), parts)


# Faults in every place: reaching outside.


class ReadsTheDay(Acme):
    def encode(self, message: Message) -> Part:
        return patched(super().encode(message), b'"tenant":null', f'"tenant":"{datetime.now(UTC):%Y}"'.encode())


class ReadsTheClock(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        what_time()
        return super().request(parts, now)


class Waits(Acme):
    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        time.sleep(0.0)
        return super().outcomes(response, parts)


class OpensASocket(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        socket.socket().close()
        return super().request(parts, now)


class HidesASocket(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        with contextlib.suppress(AssertionError):
            socket.socket().close()
        return super().request(parts, now)


class OpensAFile(Acme):
    def encode(self, message: Message) -> Part:
        Path(__file__).read_bytes()
        return super().encode(message)


class LooksForAFile(Acme):
    def encode(self, message: Message) -> Part:
        Path(__file__).exists()
        return super().encode(message)


class RollsDice(Acme):
    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        random.random()
        return super().request(parts, now)


class StartsAThread(Acme):
    def encode(self, message: Message) -> Part:
        threading.Thread(target=int).start()
        return super().encode(message)


OUTSIDE = "test_no_method_reaches_outside"
REQUESTS = "test_requests_can_be_sent_and_are_the_same_again"
ENCODES = "test_ordinary_messages_are_encoded_as_json"
STATUS = "test_a_status_means_what_it_means"


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (SecretInRepr, "test_no_text_of_it_shows_a_secret"),
        (NotFrozen, "test_it_is_a_frozen_provider"),
        (NameOfTwoWords, "test_its_name_can_stand_in_a_configuration"),
        (NameOfAnother, "test_its_name_is_not_that_of_another_provider"),
        (CannotBeCopied, "test_copies_are_equal_and_no_pickle_holds_a_secret"),
        (SecretInRepr, "test_copies_are_equal_and_no_pickle_holds_a_secret"),
        (UnknownKind, "test_capabilities_use_known_words"),
        (UnknownMember, "test_capabilities_use_known_words"),
        (NoRoom, "test_limits_are_positive"),
        (ClaimsAnIdentity, "test_each_known_identity_is_enough"),
        (NeedsNoIdentity, "test_a_message_without_a_known_identity_is_refused_by_name"),
        (TakesAnything, "test_a_kind_that_is_not_accepted_is_refused_by_name"),
        (RefusesNamelessly, "test_a_kind_that_is_not_accepted_is_refused_by_name"),
        (RandomIds, "test_encode_gives_the_same_again_and_changes_nothing"),
        (Mutates, "test_encode_gives_the_same_again_and_changes_nothing"),
        (WritesNan, ENCODES),
        (WritesNamesTwice, ENCODES),
        (Truncates, "test_a_message_over_the_limit_is_recognised"),
        (ClaimsToCarry, "test_what_it_says_it_carries_is_in_the_part"),
        (SecretInUrl, "test_no_secret_is_in_an_address_or_a_repr"),
        (SecretInPath, "test_no_secret_is_in_an_address_or_a_repr"),
        (NewEveryTime, REQUESTS),
        (ElsewhereUrl, REQUESTS),
        (WrongType, REQUESTS),
        (MessageInHeader, REQUESTS),
        (FixedUrl, "test_a_base_url_of_the_users_is_kept_with_its_path"),
        (EnvelopeTooSmall, "test_full_batches_stay_within_the_limits"),
        (EnvelopeOneByteTooSmall, "test_full_batches_stay_within_the_limits"),
        (SendsTheFirst, "test_every_message_of_a_batch_is_in_the_request_once_and_in_order"),
        (SendsBackwards, "test_every_message_of_a_batch_is_in_the_request_once_and_in_order"),
        (OneVerdict, "test_any_answer_gives_one_verdict_for_each_part"),
        (OneVerdict, "test_success_delivers_every_part"),
        (SecretInReason, "test_no_verdict_shows_a_secret"),
        (BlamesTheMessage, "test_a_page_for_people_is_no_success"),
        (ReadsTheDay, OUTSIDE),
        (ReadsTheClock, OUTSIDE),
        (Waits, OUTSIDE),
        (OpensASocket, OUTSIDE),
        (HidesASocket, OUTSIDE),
        (OpensAFile, OUTSIDE),
        (LooksForAFile, OUTSIDE),
        (RollsDice, OUTSIDE),
        (StartsAThread, OUTSIDE),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_seeded_fault_is_caught(fault: Any, test: str) -> None:
    with pytest.raises((AssertionError, TypeError, pytest.fail.Exception)):
        getattr(suite(fault(api_key=SECRET)), test)()


@pytest.mark.parametrize(
    ("fault", "raised"), [(ChokesOnBadJson, ValueError), (TrustsTypes, (AttributeError, TypeError, AssertionError))]
)
def test_an_answer_that_makes_a_provider_raise_is_found(fault: type[Acme], raised: Any) -> None:
    with pytest.raises(raised):
        suite(fault(api_key=SECRET)).test_any_answer_gives_one_verdict_for_each_part()


def test_a_message_that_makes_a_provider_raise_is_found() -> None:
    with pytest.raises(UnicodeEncodeError):
        suite(ChokesOnNames(api_key=SECRET)).test_any_message_is_encoded_or_refused_in_words()


@pytest.mark.parametrize(
    ("fault", "status", "expected"),
    [
        (BlamesTheMessage, 503, Retry),
        (BlamesTheMessage, 401, type(outcome_of(Response(status=401)))),
        (NeverGivesUp, 400, Rejected),
    ],
)
def test_a_wrong_reading_of_a_status_is_caught(fault: type[Acme], status: int, expected: type[Outcome]) -> None:
    with pytest.raises(AssertionError, match=str(status)):
        getattr(suite(fault(api_key=SECRET)), STATUS)(status, expected)


def test_a_provider_that_ignores_retry_after_is_caught() -> None:
    with pytest.raises(AssertionError):
        suite(IgnoresRetryAfter(api_key=SECRET)).test_retry_after_is_honoured(429)


def test_a_secret_that_is_not_named_is_asked_for() -> None:
    with pytest.raises(AssertionError, match="the value of api_key is a secret; add it to secrets"):
        suite(Acme(api_key=SECRET), secrets=()).test_every_declared_secret_is_watched()


def test_a_secret_that_nothing_holds_is_pointed_out() -> None:
    with pytest.raises(AssertionError, match="no setting holds 'an0ther-value'"):
        suite(Acme(api_key=SECRET), secrets={SECRET, "an0ther-value"}).test_every_declared_secret_is_watched()


def test_a_secret_may_stand_in_the_url_where_the_author_says_so() -> None:
    suite(SecretInUrl(api_key=SECRET), secret_in_url=True).test_no_secret_is_in_an_address_or_a_repr()


def test_without_hypothesis_the_suite_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import unitrack.testing; unitrack.testing.ProviderConformance"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs hypothesis: pip install 'unitrack-sdk[testing]'" in done.stderr


def test_the_test_tools_load_neither_pytest_nor_hypothesis() -> None:
    code = "import sys, unitrack.testing; print({'pytest', 'hypothesis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"

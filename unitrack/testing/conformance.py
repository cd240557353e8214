"""What every provider must do, as tests to inherit; a new provider's own test is two attributes long."""

import copy
import math
import pickle
import re
from collections.abc import Mapping
from typing import Any

import attrs

try:
    import pytest
    from hypothesis import HealthCheck, Phase, example, given, settings
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"ProviderConformance needs {error.name}: pip install 'unitrack-sdk[testing]'", name=error.name
    ) from error

from .. import providers
from ..batching import batches
from ..codec import pack, unpack_plain
from ..errors import Unsupported
from ..message import KINDS, Message
from ..wire import (
    OPTIONAL_MEMBERS,
    Capabilities,
    Delivered,
    Hold,
    Outcome,
    Part,
    Provider,
    Rejected,
    Response,
    Retry,
    omitted,
    plain_encoder,
    refusal,
)
from . import strategies
from .checks import assert_sound, strict_json
from .purity import pure
from .samples import NOW, identity_for, sample, samples
from .subject import Subject
from .transports import plain_body

# Hypothesis refuses @given methods that several classes inherit, because a stored example of one class could be
# replayed against another. So nothing is stored (database=None), and the check is switched off. No deadline: the
# machines that run this are slow now and then, and nothing here is about speed.
_every = settings(
    database=None,
    deadline=None,
    max_examples=30,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.differing_executors],
)
#: Answers are cheap to make, and the odd one out is what counts.
_every_answer = settings(_every, max_examples=150)
#: Each example is up to four messages.
_every_run = settings(_every, max_examples=12)
_IDENTITIES = frozenset({"user_id", "anonymous_id", "phone"})


class ProviderConformance(Subject):
    """Tests of what unitrack relies on in a provider.

    ::

        class TestAcme(ProviderConformance):
            provider = Acme(api_key="s3cr3t-value")
            secrets = {"s3cr3t-value"}

    Attributes:
        provider: made with settings that a user could have; several classes may test one provider with several.
        secrets: its credentials, in the words of the settings. They must show up nowhere but in a request.
        success: the vendor's answer to a request that it took. Default: 200 with an empty body.
        secret_in_url: whether the vendor wants its secret there. Default: no.
        content_type: of every request. Default: JSON.
    """

    def messages(self) -> SearchStrategy[Message]:
        """Make messages that the vendor takes; override it where a vendor is choosier than capabilities can say."""
        return strategies.messages(self.provider.capabilities)

    # Settings

    def test_it_is_a_frozen_provider(self) -> None:
        assert isinstance(self.provider, Provider), "a provider has name, base_url, capabilities and three methods"
        assert attrs.has(type(self.provider)), "a provider is an attrs class: its fields are the settings of a user"
        for name, setting in self._settings.items():
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(self.provider, name, None)
            assert setting.kw_only or not setting.init, f"the setting {name} is keyword-only"

    def test_its_name_can_stand_in_a_configuration(self) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", self.provider.name), f"no lower-case word: {self.provider.name!r}"

    def test_its_name_is_not_that_of_another_provider(self) -> None:
        name = self.provider.name
        taken = name in providers.names() and providers.find(name) is not type(self.provider)
        assert not taken, f"{name!r} is the name of {providers.find(name)}"

    def test_copies_are_equal_and_no_pickle_holds_a_secret(self) -> None:
        assert copy.copy(self.provider) == self.provider
        assert copy.deepcopy(self.provider) == self.provider
        try:
            pickled = pickle.dumps(self.provider)
        except (TypeError, pickle.PicklingError):
            return  # refused, as secret() does: the key stays where it is
        self._assert_no_secret(pickled.decode("latin-1"))
        assert pickle.loads(pickled) == self.provider  # noqa: S301  # made five lines above

    def test_every_declared_secret_is_watched(self) -> None:
        assert not isinstance(self.secrets, str), "secrets is a set of texts, not one text"
        values = {name: _shown(getattr(self.provider, name)) for name in self._settings}
        for secret in self.secrets:
            assert len(secret) >= 8, "a secret for tests is long enough not to occur by chance"
            assert any(secret in value for value in values.values()), f"no setting holds {secret!r}"
        for name, setting in self._settings.items():
            if setting.metadata.get("secret") and getattr(self.provider, name):
                watched = any(secret in values[name] for secret in self.secrets)
                assert watched, f"the value of {name} is a secret; add it to secrets"

    def test_no_text_of_it_shows_a_secret(self) -> None:
        self._assert_no_secret(repr(self.provider), str(self.provider), f"{self.provider}")
        self._assert_no_secret(repr(self.provider.capabilities))

    # Capabilities

    def test_capabilities_are_the_same_at_every_look(self) -> None:
        assert isinstance(self.provider.capabilities, Capabilities)
        assert self.provider.capabilities == self.provider.capabilities

    def test_capabilities_use_known_words(self) -> None:
        can = self.provider.capabilities
        assert can.accepts, "it accepts at least one kind of message"
        assert can.accepts <= set(KINDS), f"no kinds of message: {sorted(can.accepts - set(KINDS))}"
        assert can.identities, "it knows at least one identity"
        assert set(can.identities) <= _IDENTITIES, f"no identities: {sorted(set(can.identities) - _IDENTITIES)}"
        members = {*OPTIONAL_MEMBERS, *(f"{kind}.{name}" for kind in can.accepts for name in OPTIONAL_MEMBERS)}
        assert can.carries <= members, f"no members of what it accepts: {sorted(can.carries - members)}"
        assert set(can.refusals) <= set(KINDS) - can.accepts, "a refusal is for a kind that is not accepted"

    def test_limits_are_positive(self) -> None:
        can = self.provider.capabilities
        assert can.max_batch >= 1, "max_batch: a request holds at least one message"
        assert can.envelope_bytes >= 0, "envelope_bytes: nothing is lighter than nothing"
        for name in ("max_batch_bytes", "max_message_bytes", "rate_per_minute"):
            limit = getattr(can, name)
            assert limit is None or limit > 0, f"{name} is {limit}; say None where the vendor states no limit"

    # Refusals

    def test_a_kind_that_is_not_accepted_is_refused_by_name(self) -> None:
        can = self.provider.capabilities
        for kind in set(KINDS) - can.accepts:
            self._assert_refused_by_name(sample(kind, identity_for(kind, can)))

    def test_a_message_without_a_known_identity_is_refused_by_name(self) -> None:
        can = self.provider.capabilities
        for identity in _IDENTITIES - set(can.identities):
            for kind in can.accepts - {"alias"}:  # nobody can make one without a user_id
                self._assert_refused_by_name(sample(kind, identity))

    def test_each_known_identity_is_enough(self) -> None:
        can = self.provider.capabilities
        kinds = can.accepts - {"alias"}
        for identity in can.identities:
            taken = [kind for kind in kinds if self._takes(sample(kind, identity))]
            assert taken or not kinds, f"capabilities name {identity} as identity enough, but no message goes with it"

    # Encoding

    @_every
    @given(data=st.data())
    def test_ordinary_messages_are_encoded_as_json(self, data: st.DataObject) -> None:
        message = data.draw(self.messages())
        assert refusal(self.provider, message) is None, refusal(self.provider, message)
        part = self.provider.encode(message)
        assert isinstance(part, Part)
        strict_json(part.body)

    @_every
    @given(data=st.data())
    def test_any_message_is_encoded_or_refused_in_words(self, data: st.DataObject) -> None:
        message = data.draw(strategies.any_messages(self.provider.capabilities))
        try:
            part = self.provider.encode(message)
        except Unsupported as refused:
            part, why = None, str(refused).strip()
        if part is None:
            assert why, "Unsupported says what to do instead"
        else:
            strict_json(part.body)

    @_every
    @given(data=st.data())
    def test_encode_gives_the_same_again_and_changes_nothing(self, data: st.DataObject) -> None:
        can = self.provider.capabilities
        # One with something in it that could be changed, as often as any other.
        full = [sample(kind, identity_for(kind, can), context={"mark": 1}) for kind in sorted(can.accepts)]
        message = data.draw(st.sampled_from(full) | self.messages())
        before = _everything(message)
        assert self.provider.encode(message) == self.provider.encode(message), "a repeat is recognised by its bytes"
        assert _everything(message) == before, "encode leaves a message as it is; other destinations get it too"

    @_every
    @given(message=strategies.plain_tracks())
    def test_its_short_way_says_a_plain_track_as_encode_does(self, message: Message) -> None:
        short, track = plain_encoder(self.provider), unpack_plain(pack(message))
        assert track is not None
        try:
            part = None if short is None else short(track)
        except Unsupported as refused:
            with pytest.raises(Unsupported, match=re.escape(str(refused))):
                self.provider.encode(message)
        else:
            assert part is None or part == self.provider.encode(message), "it depends on which way a message came"

    def test_a_message_over_the_limit_is_recognised(self) -> None:
        limit = self.provider.capabilities.message_bytes
        for kind in self._kinds_with_room:
            message = self._sample(kind, {"filler": "x" * (limit + 1)})
            try:
                part = self.provider.encode(message)
            except Unsupported:
                continue
            assert len(part.body) > limit, f"a {kind} message of more than {limit} bytes was cut, or is not all there"

    def test_what_it_says_it_carries_is_in_the_part(self) -> None:
        can = self.provider.capabilities
        marked: dict[str, tuple[Any, Any]] = {
            "tenant_id": ("mark-1", "mark-2"),
            "idempotency_key": ("mark-1", "mark-2"),
            "integrations": ({"mark-1": True}, {"mark-2": True}),
        }
        for kind in can.accepts:
            for name, values in marked.items():
                one, two = (sample(kind, identity_for(kind, can), **{name: value}) for value in values)
                if name not in omitted(can, one):
                    # Not the value itself: some vendors take a key as a UUID or a hash only.
                    other = self.provider.encode(attrs.evolve(one, **{name: getattr(two, name)}))
                    assert self.provider.encode(one) != other, f"{kind}.{name} is not carried"

    # Requests

    @_every_run
    @given(data=st.data())
    def test_requests_can_be_sent_and_are_the_same_again(self, data: st.DataObject) -> None:
        messages = data.draw(st.lists(self.messages(), min_size=1, max_size=4))
        can = self.provider.capabilities
        for batch in batches([self.provider.encode(message) for message in messages], can):
            request = self.provider.request(batch, NOW)
            assert request == self.provider.request(batch, NOW), "the same parts at the same time give the same bytes"
            assert request.method in {"POST", "PUT", "PATCH"}
            self._assert_address(request.url)
            named = {name.lower(): value for name, value in request.headers.items()}
            assert len(named) == len(request.headers), "each header stands once"
            for name, value in named.items():
                assert re.fullmatch(r"[a-z0-9-]+", name), f"no name of a header: {name!r}"
                assert re.fullmatch(r"[ -~]*", value), f"the value of {name} is printable ASCII"
            assert named.get("content-type", "").startswith(self.content_type), f"the body is {self.content_type}"
            body = plain_body(request)
            assert len(body) <= (can.max_batch_bytes or math.inf), f"{len(body)} bytes of {can.max_batch_bytes}"
            if self.content_type == "application/json":
                strict_json(body)

    def test_full_batches_stay_within_the_limits(self) -> None:
        can = self.provider.capabilities
        runs: list[list[Part | None]] = [
            [self._part_of(can.message_bytes)],
            [*self._parts()[:1] * (2 * can.max_batch + 1)],
        ]
        if can.max_batch_bytes is not None:
            # Parts that fill a request to its last byte, the envelope and the commas between them included.
            count = min(can.max_batch, max(2, math.ceil(can.max_batch_bytes / can.message_bytes)))
            size, rest = divmod(can.max_batch_bytes - can.envelope_bytes - (count - 1), count)
            runs.append([self._part_of(size + rest), *[self._part_of(size)] * (2 * count - 1)])
        for run in runs:
            for batch in batches([part for part in run if part is not None], can):
                body = plain_body(self.provider.request(batch, NOW))
                assert len(body) <= (can.max_batch_bytes or math.inf), (
                    f"a batch of {len(batch)} makes {len(body)} bytes of {can.max_batch_bytes}; see envelope_bytes"
                )

    def test_every_message_of_a_batch_is_in_the_request_once_and_in_order(self) -> None:
        can = self.provider.capabilities
        for kind in self._kinds_with_room:
            marks = [f"mark-{number:04}" for number in range(min(can.max_batch, 20))]
            parts = [self.provider.encode(self._sample(kind, {"mark": mark})) for mark in marks]
            sent = [
                re.findall(r"mark-\d{4}", plain_body(self.provider.request(batch, NOW)).decode())
                for batch in batches(parts, can)
            ]
            assert [mark for found in sent for mark in found] == marks, f"of {marks}, this is in the requests: {sent}"

    def test_a_base_url_of_the_users_is_kept_with_its_path(self) -> None:
        if (setting := self._settings.get("base_url")) and setting.init:
            own: Any = attrs.evolve(self.provider, base_url="http://127.0.0.1:8080/prefix/")  # type: ignore[misc]
            for message in samples(own.capabilities):
                url = own.request([own.encode(message)], NOW).url
                assert re.match(r"http://127\.0\.0\.1:8080/prefix/[^/]", url), f"{url} is not below the user's base_url"

    def test_no_secret_is_in_an_address_or_a_repr(self) -> None:
        for part in self._parts():
            request = self.provider.request([part], NOW)
            self._assert_no_secret(repr(part), *([] if self.secret_in_url else [repr(request), request.url]))

    # Answers

    @_every_answer
    @given(response=strategies.responses(), count=st.integers(1, 4))
    # JSON where an object was expected, and another type where a text was: chance finds them only now and then.
    @example(response=Response(status=400, body=b"7"), count=1)
    @example(response=Response(status=200, body=b"true"), count=2)
    @example(response=Response(status=400, body=b'["message"]'), count=1)
    @example(response=Response(status=400, body=b'{"message":7,"error":null,"errors":{"a":[1]}}'), count=1)
    def test_any_answer_gives_one_verdict_for_each_part(self, response: Response, count: int) -> None:
        parts = self._parts()[:1] * min(count, self.provider.capabilities.max_batch)
        outcomes = self.provider.outcomes(response, parts)
        assert len(outcomes) == len(parts), f"{len(outcomes)} verdicts for {len(parts)} parts"
        for outcome in outcomes:
            assert_sound(outcome)
        assert list(self.provider.outcomes(response, parts)) == list(outcomes), "the same answer means the same again"

    def test_success_delivers_every_part(self) -> None:
        for parts in (self._parts()[:1], self._parts()[:1] * self.provider.capabilities.max_batch):
            outcomes = self.provider.outcomes(self.success, parts)
            assert len(outcomes) == len(parts), f"{len(outcomes)} verdicts for {len(parts)} parts"
            assert all(isinstance(outcome, Delivered) for outcome in outcomes), f"{outcomes[0]} after {self.success}"

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(302, Hold), (400, Rejected), (401, Hold), (403, Hold), (429, Retry), (500, Retry), (503, Retry)],
    )
    def test_a_status_means_what_it_means(self, status: int, expected: type[Outcome]) -> None:
        for body in (b"", b'{"message":"no"}', b"<html>no</html>"):
            (outcome,) = self._outcomes(Response(status=status, body=body))
            assert isinstance(outcome, expected), f"{status} with {body!r} is {outcome}"

    def test_a_page_for_people_is_no_success(self) -> None:
        page = Response(status=200, headers={"content-type": "text/html"}, body=b"<!doctype html><p>Log in</p>")
        (outcome,) = self._outcomes(page)
        assert isinstance(outcome, Hold), "a proxy or login page answered, not the vendor"

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_honoured(self, status: int) -> None:
        (outcome,) = self._outcomes(Response(status=status, headers={"retry-after": "7"}))
        after = outcome.after if isinstance(outcome, Retry) else None
        assert after == 7.0, f"the server asked for 7 s; the verdict is {outcome}"

    def test_no_verdict_shows_a_secret(self) -> None:
        for status in (200, 202, 302, 400, 401, 403, 404, 413, 422, 429, 500, 503):
            self._assert_no_secret(*map(repr, self._outcomes(Response(status=status, body=b'{"message":"no"}'))))

    # No I/O

    def test_no_method_reaches_outside(self) -> None:
        answers = (self.success, Response(status=400, body=b'{"message":"no"}'), Response(status=503))
        for message in samples(self.provider.capabilities):
            part = self.provider.encode(message)
            with pure(f"{self._title}.encode"):
                self.provider.encode(message)
            self.provider.request([part], NOW)
            with pure(f"{self._title}.request"):
                self.provider.request([part], NOW)
            for response in answers:
                self.provider.outcomes(response, [part])
                with pure(f"{self._title}.outcomes"):
                    self.provider.outcomes(response, [part])


def _everything(message: Message) -> tuple[bytes, str]:
    # The bytes are what is sent; the repr also shows what somebody may have changed in the parsed view of them.
    return pack(message), repr(message)


def _shown(value: object) -> str:
    # Not the repr of a table: that hides the secrets in it.
    return " ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)

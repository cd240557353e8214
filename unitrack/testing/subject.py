"""The provider under test, and what the conformance suite asks of it over and over."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..errors import Unsupported
from ..message import Message
from ..wire import Outcome, Part, Provider, Response, refusal
from .checks import assert_no_secret
from .samples import FREE_MEMBER, identity_for, sample, samples


class Subject:
    """A provider, and what its author says about it; see :class:`~unitrack.testing.ProviderConformance`."""

    provider: Provider
    secrets: Collection[str] = ()
    success: Response = Response(status=200)
    secret_in_url: bool = False
    content_type: str = "application/json"

    @property
    def _title(self) -> str:
        return type(self.provider).__name__

    @property
    def _settings(self) -> Mapping[str, "attrs.Attribute[Any]"]:
        made: Any = type(self.provider)
        return attrs.fields_dict(made)

    @property
    def _kinds_with_room(self) -> list[str]:
        """Name the accepted kinds that have properties or traits."""
        return [kind for kind in FREE_MEMBER if kind in self.provider.capabilities.accepts]

    def _sample(self, kind: str, free: dict[str, Any]) -> Message:
        return sample(kind, identity_for(kind, self.provider.capabilities), **{FREE_MEMBER[kind]: free})

    def _parts(self) -> list[Part]:
        """Encode one message of each kind."""
        return [self.provider.encode(message) for message in samples(self.provider.capabilities)]

    def _part_of(self, size: int) -> Part | None:
        """Encode a message whose body has exactly so many bytes; ``None`` where nothing can grow that far."""
        for kind in self._kinds_with_room:
            least = len(self.provider.encode(self._sample(kind, {"filler": ""})).body)
            try:
                part = self.provider.encode(self._sample(kind, {"filler": "x" * (size - least)}))
            except Unsupported:
                continue
            if len(part.body) == size:
                return part
        return None

    def _takes(self, message: Message) -> bool:
        try:
            self.provider.encode(message)
        except Unsupported:
            return False
        return refusal(self.provider, message) is None

    def _outcomes(self, response: Response) -> Sequence[Outcome]:
        return self.provider.outcomes(response, self._parts()[:1])

    def _assert_refused_by_name(self, message: Message) -> None:
        sentences = [refusal(self.provider, message) or ""]
        try:
            self.provider.encode(message)
        except Unsupported as error:
            sentences.append(str(error))
        else:
            raise AssertionError(f"{self._title}.encode raises Unsupported for what it cannot carry: {message!r}")
        for sentence in sentences:
            named = any(word in sentence.lower() for word in (self._title.lower(), self.provider.name.lower()))
            assert named, f"the refusal says who refuses: {sentence!r}"

    def _assert_address(self, url: str) -> None:
        base = self.provider.base_url
        assert urlsplit(url).scheme in {"http", "https"}
        assert urlsplit(url).hostname
        assert re.fullmatch(r"[!-~]+", url), f"an address is printable ASCII; quote what comes from a message: {url!r}"
        below = url.startswith(base) and (base.endswith("/") or url[len(base) :][:1] in {"", "/", "?"})
        assert below, f"{url} is not below {base}"

    def _assert_no_secret(self, *texts: str) -> None:
        assert_no_secret(self.secrets, *texts)

"""A small sound provider of an invented vendor, for tests to break on purpose."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from attrs import field, frozen

from unitrack.answers import json_body, outcome_of
from unitrack.errors import Unsupported
from unitrack.message import Identify, Message, Track
from unitrack.values import dumps
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Rejected, Request, Response, require_identity, secret

REFUSED = {kind: f"Acme has no {kind} call; send a track event" for kind in ("page", "screen", "group", "alias")}


@frozen(kw_only=True)
class Acme:
    """Takes events and people in one list, and says which of them it refused."""

    name: ClassVar[str] = "acme"
    capabilities: ClassVar[Capabilities] = Capabilities(
        accepts=frozenset({"identify", "track"}),
        carries=frozenset({"context", "tenant_id"}),
        max_batch=50,
        max_batch_bytes=20_000,
        max_message_bytes=8_000,
        envelope_bytes=len(b'{"items":[]}'),
        refusals=REFUSED,
    )

    api_key: str = secret()
    base_url: str = field(default="https://api.acme.example", converter=lambda url: url.rstrip("/"))

    def encode(self, message: Message) -> Part:
        what: dict[str, Any]
        match message:
            case Track():
                what = {"event": message.event, "data": message.properties}
            case Identify():
                what = {"data": message.traits}
            case _:
                raise Unsupported(REFUSED[message.kind])
        require_identity(self, message)
        common = {"id": message.message_id, "user": message.user_id, "at": message.timestamp}
        return Part(
            path="/v1/items",
            body=dumps({**common, **what, "tenant": message.tenant_id, "context": message.context}),
        )

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        body = b'{"items":[' + b",".join(part.body for part in parts) + b"]}"
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        return Request(url=self.base_url + parts[0].path, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        verdict = outcome_of(response)
        answer = json_body(response)
        refused = answer.get("refused") if isinstance(answer, dict) else None
        if not isinstance(verdict, Delivered) or not isinstance(refused, list):
            return [verdict] * len(parts)
        return [Rejected("refused by Acme") if index in refused else verdict for index in range(len(parts))]

"""Mixpanel: events, profiles and groups have paths of their own, and ``/import`` names each event that it refuses.

API: https://docs.mixpanel.com/reference and the vendor's client (mixpanel 5.4.1).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from ..errors import ConfigError, Unsupported
from ..forms import basic, epoch, filled, zipped
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..secret import discreet, sealed_table
from ..settings import flag, named, one_of, whole
from ..values import dumps
from ..version import __version__
from ..wire import Capabilities, Outcome, Part, Request, Response, address, require_identity, secret, settle_address
from ._mixpanel_answers import outcomes
from ._mixpanel_members import in_utc, insert_id, instant, meta, somebody, table, time

HOSTS = {"us": "https://api.mixpanel.com", "eu": "https://api-eu.mixpanel.com", "in": "https://api-in.mixpanel.com"}

# Without ip=0 everybody is placed where this server stands.
IMPORT = "/import?strict=1&ip=0"
TRACK, ENGAGE, GROUPS = (f"/{name}?verbose=1&ip=0" for name in ("track", "engage", "groups"))

MAX_BATCH = 2000
MAX_BATCH_BYTES = 2_000_000  # older docs say 2 MB, newer ones 10 MB
MOST_BATCH_BYTES = 10_000_000
MAX_MESSAGE_BYTES = 1_000_000

GROUP_OPERATIONS = ("$set", "$set_once", "$union", "$unset", "$remove", "$delete")
PROFILE_OPERATIONS = (*GROUP_OPERATIONS, "$add", "$append")

_CARRIES = frozenset(
    {
        *("identify.anonymous_id", "track.anonymous_id", "page.anonymous_id", "screen.anonymous_id"),
        *("track.idempotency_key", "page.idempotency_key", "screen.idempotency_key"),
    }
)
_NO_ALIAS = "Mixpanel's simplified ID merge has no alias; send an event with both ids"
_MARKS = {"mp_lib": "unitrack", "$lib_version": __version__}


@discreet
@frozen(kw_only=True)
class Mixpanel:
    """Send to Mixpanel.

    Args:
        token: of the project, from its settings. It travels in all data, and lets us in at ``/import``.
        region: where the project lives: ``"us"``, ``"eu"`` or ``"in"``.
        base_url: default: the region's host.
        endpoint: where events go: ``"import"`` takes any age and answers for each event, ``"track"`` drops what is
            older than five days and answers for the request.
        service_account: ``username`` and ``secret``, in place of the token at ``/import``; needs ``project_id``.
        project_id: the project's number as text; with ``service_account``.
        id_merge: the project's way to join ids: ``"simplified"`` (new projects) or ``"original"``, which has alias.
        group_key: what ``group`` messages are about.
        page_event: the name of the event that a ``page`` becomes.
        screen_event: the name of the event that a ``screen`` becomes.
        gzip: compress events; Mixpanel takes profiles and groups only as they are.
        max_batch_bytes: of one request before gzip, 2,000,000 (default) to 10,000,000.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "mixpanel"

    token: str = secret("copy it from the settings of the project in Mixpanel")
    region: Literal["us", "eu", "in"] = field(default="us", validator=one_of("us", "eu", "in"))
    base_url: str = address()
    endpoint: Literal["import", "track"] = field(default="import", validator=one_of("import", "track"))
    service_account: Mapping[str, str] | None = field(
        default=None, converter=sealed_table, repr=False, metadata={"secret": True}
    )
    project_id: str | None = None
    id_merge: Literal["simplified", "original"] = field(
        default="simplified", validator=one_of("simplified", "original")
    )
    group_key: str = field(default="company", validator=named)
    page_event: str = field(default="Page Viewed", validator=named)
    screen_event: str = field(default="Screen Viewed", validator=named)
    gzip: bool = field(default=False, validator=flag)
    max_batch_bytes: int = field(default=MAX_BATCH_BYTES, validator=whole(MAX_BATCH_BYTES))

    def __attrs_post_init__(self) -> None:
        if self.max_batch_bytes > MOST_BATCH_BYTES:
            raise ConfigError(f"max_batch_bytes must be at most {MOST_BATCH_BYTES}, which is what Mixpanel takes")
        if self.service_account is not None:
            _check_account(self.service_account)
            if self.endpoint != "import":
                raise ConfigError("service_account is for endpoint='import'; /track knows the token only")
        if (self.service_account is None) != (self.project_id is None):
            raise ConfigError("project_id and service_account go together; give both or none of them")
        if self.project_id is not None and not re.fullmatch("[0-9]+", str(self.project_id)):
            raise ConfigError("project_id must be the number of the project, for example '1234567'")
        settle_address(self, HOSTS[self.region])

    @cached_property
    def capabilities(self) -> Capabilities:
        kinds = {"track", "identify", "page", "screen", "group"}
        has_alias = self.id_merge == "original"
        return Capabilities(
            accepts=frozenset(kinds | {"alias"} if has_alias else kinds),
            identities=("user_id", "anonymous_id"),
            carries=_CARRIES,
            options=("groups", "meta", "operation"),
            max_batch=MAX_BATCH,
            max_batch_bytes=self.max_batch_bytes,
            max_message_bytes=MAX_MESSAGE_BYTES,
            deduplicates="$insert_id with event, time and distinct_id; not for profiles and groups",
            # /track answers 1 also for what it drops: an old event, a wrong token.
            confirms=self.endpoint == "import",
            refusals={} if has_alias else {"alias": _NO_ALIAS},
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        match message:
            case Track():
                return self._event(message, message.event, message.properties)
            case Page(name=name, category=category):
                return self._event(message, self.page_event, filled(message.properties, name=name, category=category))
            case Screen(name=name, category=category):
                return self._event(message, self.screen_event, filled(message.properties, name=name, category=category))
            case Identify():
                who = {"$distinct_id": self._ids(message)["distinct_id"], **meta(message)}
                return self._update(message, ENGAGE, who, PROFILE_OPERATIONS)
            case Group():
                who = {"$group_key": self.group_key, "$group_id": message.group_id}
                return self._update(message, GROUPS, who, GROUP_OPERATIONS)
            case Alias() if self.id_merge == "original":
                ids = {"distinct_id": somebody(message.previous_id), "alias": somebody(message.user_id)}
                # It has neither time nor $insert_id, which /import wants.
                data = {"event": "$create_alias", "properties": {**ids, "token": self.token}}
                return Part(path=TRACK, body=dumps(data))
            case Alias():
                raise Unsupported(_NO_ALIAS)

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        path = parts[0].path
        headers = {"Content-Type": "application/json"}
        if path.startswith("/import"):
            account = self.service_account
            headers["Authorization"] = basic(account["username"], account["secret"]) if account else basic(self.token)
        body = b"[%b]" % b",".join([part.body for part in parts])
        if self.gzip and path.startswith(("/import", "/track")):
            headers, body = zipped(headers, body)
        return Request(url=self.base_url + path, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return outcomes(response, parts)

    def _event(self, message: Message, event: str, properties: Mapping[str, Any]) -> Part:
        path = TRACK if self.endpoint == "track" else IMPORT
        if self.project_id is not None:
            path += f"&project_id={self.project_id}"
        own = {
            "token": self.token,
            **self._ids(message),
            "time": time(message),
            "$insert_id": insert_id(message),
            **_MARKS,
        }
        # Ours go last and win: with a token or distinct_id of the caller's it would be another one's event.
        members = in_utc(properties).extended(table(message, "groups")).extended(own)
        return Part(path=path, body=dumps({"event": event, "properties": members}))

    def _update(self, message: Identify | Group, path: str, who: Mapping[str, Any], known: Sequence[str]) -> Part:
        operation = message.options.get("operation") or "$set"
        if operation not in known:
            raise Unsupported(f"Mixpanel takes options.operation on {message.kind} as one of {', '.join(known)}")
        traits: Any = in_utc(message.traits)
        if isinstance(message, Identify):
            traits = traits.extended(table(message, "groups"))
        if operation == "$unset":
            traits = list(traits)
        elif operation == "$delete":
            traits = ""
        # $time in seconds, as from the vendor's client: updates count in its order.
        data = {"$token": self.token, **who, "$time": epoch(instant(message)) / 1000, operation: traits}
        return Part(path=path, body=dumps(data))

    def _ids(self, message: Message) -> dict[str, str]:
        user, anonymous = somebody(message.user_id), somebody(message.anonymous_id)
        if self.id_merge == "original" or not anonymous:
            return {"distinct_id": user or anonymous}
        ids = {"distinct_id": user or f"$device:{anonymous}", "$device_id": anonymous}
        # An event with both joins the two.
        return {**ids, "$user_id": user} if user else ids


def _check_account(account: Any) -> None:
    known = isinstance(account, Mapping) and account.keys() == {"username", "secret"}
    if not known or not all(isinstance(value, str) and value for value in account.values()):
        raise ConfigError("service_account must be a table of username and secret, both text")
    if ":" in account["username"]:
        raise ConfigError("the username of service_account must have no colon; Basic credentials end it there")

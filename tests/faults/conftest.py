"""No secret may be seen in anything that a fault test prints, logs or reports."""

import base64
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.faults.world import CANARIES


def forms(secret: str) -> set[str]:
    """Return a secret in every form in which it could slip out."""
    texts = {secret, secret + ":", quote(secret, safe="")}
    return texts | {base64.b64encode(text.encode()).decode() for text in texts}


def assert_clean(*outputs: object) -> None:
    """Fail if any canary stands in any of the outputs, in any form."""
    for output in outputs:
        text = str(output)
        for name, secret in CANARIES.items():
            for form in forms(secret):
                # A workspace key is an identifier that SuprSend wants in bodies; it is no secret.
                assert name == "workspace_key" or form not in text, f"the {name} leaked: {text[:300]}"


@pytest.fixture(autouse=True)
def canary(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    out, err = capfd.readouterr()
    assert_clean(caplog.text, out, err)
    # No thread of ours dies with a traceback on the user's terminal.
    assert "Exception in thread" not in err

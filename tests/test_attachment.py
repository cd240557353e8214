"""Files that travel with a message."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.attachment import MAX_FILE_BYTES, Attachment, checked_attachments
from unitrack.errors import InvalidMessage


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/invoice-7.pdf",
        "http://127.0.0.1:8080/a?b=c#d",
        "HTTPS://shop.example/a",
        "https://shop.example/caf\N{LATIN SMALL LETTER E WITH ACUTE}",
        "https://[2001:db8::1]/x",
    ],
)
def test_a_web_address_is_passed_on_as_it_is(url: str) -> None:
    assert checked_attachments([Attachment(url)]) == (Attachment(url),)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "invoice.pdf",
        "",
        "ftp://shop.example/a",
        "data:text/plain,a",
        "javascript:alert(1)",
        "https://",
        "https:///a",
        "https://user:pw@shop.example/a",
        "https://@shop.example/a",
        "https://shop.example/a b",
        "https://shop.example/\r\nX: 1",
        "https://shop.example/\x00",
        "https://shop.example/\u2028",
        "https://shop.example/\ud800",
        "https://shop.example\\@evil.example",
        "https://[::1/a",
        7,
        b"https://shop.example/a",
    ],
    ids=repr,
)
def test_anything_else_is_refused_naming_its_place(url: object) -> None:
    with pytest.raises(InvalidMessage) as caught:
        checked_attachments([Attachment("https://shop.example/a"), Attachment(url)])  # type: ignore[arg-type]
    assert caught.value.path == "$.attachments[1].url"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("https://shop.example/a", "$.attachments"),
        (Attachment("https://shop.example/a"), "$.attachments"),
        (["https://shop.example/a"], "$.attachments[0]"),
        ([{"url": "https://shop.example/a"}], "$.attachments[0]"),
        ([Attachment(None)], "$.attachments[0]"),
        ([Attachment("https://shop.example/a", filename=7)], "$.attachments[0].filename"),  # type: ignore[arg-type]
        ([Attachment("https://shop.example/a", None, "no")], "$.attachments[0].ignore_if_error"),  # type: ignore[arg-type]
        ([Attachment(None, data=b"raw")], "$.attachments[0].data"),  # type: ignore[arg-type]
        ([Attachment(None, data="YQ==", content_type=1)], "$.attachments[0].content_type"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_is_no_attachment_is_refused_naming_its_place(value: object, path: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        checked_attachments(value)
    assert caught.value.path == path


def test_a_file_is_read_once_when_it_is_attached(tmp_path: Path) -> None:
    file = tmp_path / "invoice.pdf"
    file.write_bytes(b"first")
    attachment = Attachment.from_file(file)
    file.write_bytes(b"second")
    assert base64.b64decode(attachment.data or "") == b"first"
    assert (attachment.url, attachment.filename, attachment.content_type) == (None, "invoice.pdf", "application/pdf")
    assert checked_attachments([attachment]) == (attachment,)


def test_a_file_can_be_shown_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "tmp123").write_bytes(b"")
    attachment = Attachment.from_file(str(tmp_path / "tmp123"), "photo.png")
    assert (attachment.filename, attachment.content_type, attachment.data) == ("photo.png", "image/png", "")
    assert Attachment.from_file(tmp_path / "tmp123", "  ").filename == "tmp123"
    assert Attachment.from_file(tmp_path / "tmp123").content_type == "application/octet-stream"


def test_the_content_of_a_file_is_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"private")
    attachment = Attachment.from_file(tmp_path / "a.txt")
    assert (attachment.data or "-") not in repr(attachment)


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _too_large(folder: Path) -> Path:
    (folder / "large").write_bytes(b"x" * 11)
    return folder / "large"


UNREADABLE = {
    "missing": (lambda folder: folder / "missing", "No such file"),
    "folder": (lambda folder: folder, "not a regular file"),
    "pipe": (_pipe, "not a regular file"),
    "device": (lambda folder: Path(os.devnull), "not a regular file"),
    "too large": (_too_large, "larger than 10 bytes"),
    "null byte": (lambda folder: folder / "a\0b", "null"),
}


def test_the_limit_of_a_file_is_inclusive_and_25_mib_by_default(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert Attachment.from_file(tmp_path / "a", max_bytes=10).data
    assert MAX_FILE_BYTES == 25 * 1024 * 1024


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    make, reason = UNREADABLE[kind]
    with pytest.raises(InvalidMessage, match=reason):
        Attachment.from_file(make(tmp_path), max_bytes=10)


def test_no_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    before = sorted(Path("/proc/self/fd").iterdir())
    for path in (tmp_path, tmp_path / "a.txt", Path(os.devnull)):
        Attachment.from_file(path, ignore_if_error=True)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_that_may_be_missing_is_left_out(tmp_path: Path, kind: str) -> None:
    make, _ = UNREADABLE[kind]
    missing = Attachment.from_file(make(tmp_path), ignore_if_error=True, max_bytes=10)
    there = Attachment("https://shop.example/a")
    assert checked_attachments([missing, there]) == (there,)


@given(st.text())
def test_any_address_is_taken_or_refused_but_never_breaks(text: str) -> None:
    for url in (text, f"https://{text}", f"https://shop.example/{text}"):
        try:
            [taken] = checked_attachments([Attachment(url)])
        except InvalidMessage:
            continue
        assert taken.url == url
        assert url.lower().startswith(("http://", "https://"))

"""Phone numbers, split the way messaging vendors want them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import InvalidMessage
from unitrack.phone import CALLING_CODES, Phone, checked_phone


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("+919999999999", Phone("9999999999", "+91")),
        ("+12025550123", Phone("2025550123", "+1")),
        ("+35387654321", Phone("87654321", "+353")),
        ("+390612345678", Phone("0612345678", "+39")),
        (Phone("+919999999999"), Phone("9999999999", "+91")),
        (Phone("9999999999", "+91"), Phone("9999999999", "+91")),
        (Phone("9999999999", "91"), Phone("9999999999", "91")),
        (Phone("07911123456", "+44"), Phone("07911123456", "+44")),
        (Phone("9999999999"), Phone("9999999999")),
        ("9999999999", Phone("9999999999")),
    ],
    ids=repr,
)
def test_a_sound_number_is_taken(given: object, found: Phone) -> None:
    assert checked_phone(given) == found


@pytest.mark.parametrize(
    ("given", "path", "advice"),
    [
        (9999999999, "$.phone", "must be a Phone or one E.164 text"),
        (["+91"], "$.phone", "must be a Phone or one E.164 text"),
        (Phone(9999999999), "$.phone.number", "must be text"),  # type: ignore[arg-type]
        (Phone("9", 91), "$.phone.country_code", "such as '+91'"),  # type: ignore[arg-type]
        (Phone("9", "+999"), "$.phone.country_code", "not a known country calling code"),
        (Phone("9", "0091"), "$.phone.country_code", "not a known country calling code"),
        (Phone("9", ""), "$.phone.country_code", "not a known country calling code"),
        ("+999123456", "$.phone", "known country calling code"),
        ("+", "$.phone", "known country calling code"),
        (Phone("99999 99999", "+91"), "$.phone.number", "put the country code into country_code"),
        (Phone("+91 99999 99999"), "$.phone.number", "put the country code into country_code"),
        ("+91", "$.phone", "write + and digits only, such as +919999999999"),
        ("+91 99999 99999", "$.phone", "write + and digits only, such as +919999999999"),
        ("099-99", "$.phone", "write + and digits only, such as +919999999999"),
        ("\N{ARABIC-INDIC DIGIT ONE}23", "$.phone", "write + and digits only, such as +919999999999"),
        ("12\N{SUPERSCRIPT TWO}", "$.phone", "write + and digits only, such as +919999999999"),
        (Phone("+919999999999", "+91"), "$.phone.number", "put the country code into country_code"),
        ("1234567890123456", "$.phone.number", "15 digits"),
    ],
    ids=repr,
)
def test_an_unsound_number_is_refused_with_its_path_and_advice(given: object, path: str, advice: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        checked_phone(given)
    assert caught.value.path == path
    assert advice in caught.value.reason


def test_the_number_itself_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidMessage) as caught:
        checked_phone("+91 98765 43210")
    assert "98765" not in str(caught.value)


def test_no_calling_code_begins_with_another() -> None:
    assert [(a, b) for a in CALLING_CODES for b in CALLING_CODES if a != b and b.startswith(a)] == []


@given(st.sampled_from(sorted(CALLING_CODES)), st.from_regex(r"[0-9]{1,12}", fullmatch=True), st.booleans())
def test_what_was_split_is_the_same_number(code: str, number: str, plus: bool) -> None:
    phone = checked_phone(f"+{code}{number}")
    assert phone.e164 == f"+{code}{number}"
    assert checked_phone(Phone(number, f"+{code}" if plus else code)).e164 == phone.e164


def test_without_a_country_code_none_is_guessed() -> None:
    assert Phone("9999999999").e164 == "9999999999"


@given(st.text() | st.builds(Phone, st.text(), st.none() | st.text()))
def test_any_text_is_taken_or_refused_but_never_breaks(given: str | Phone) -> None:
    try:
        phone = checked_phone(given)
    except InvalidMessage:
        return
    assert phone.number.isascii()
    assert phone.number.isdigit()
    assert checked_phone(phone) == phone

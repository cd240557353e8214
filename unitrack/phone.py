"""A phone number as a country code and the rest, the way messaging vendors want it."""

from attrs import field, frozen

from .errors import InvalidMessage

# Country calling codes that the ITU has assigned (E.164, list of 2016-11 with later additions).
# They are prefix-free, so one text of digits has at most one code at its front.
CALLING_CODES = frozenset(  # one text reads better than 230 quoted ones
    """
    1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66
    81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232
    233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258
    260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370
    371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505
    506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682
    683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961
    962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 996 998
    """.split()  # noqa: SIM905
)


@frozen
class Phone:
    """A phone number.

    Args:
        number: digits only, without the country code, leading zeros kept (``"9999999999"``);
            or one E.164 text with its plus (``"+919999999999"``) when no country code is given.
        country_code: calling code with or without its plus (``"+91"``). ``None``: the destination's default.
    """

    number: str
    country_code: str | None = field(default=None)

    @property
    def e164(self) -> str:
        """``+919999999999``; without a country code just the digits, because a guess would reach a stranger."""
        if self.country_code is None:
            return self.number
        return "+" + self.country_code.removeprefix("+") + self.number


def checked_phone(value: object, path: str = "$.phone") -> Phone:
    """Return a phone whose parts are known to be sound, split if it came as one E.164 text.

    Raises:
        InvalidMessage: naming the part that is wrong.

    >>> checked_phone("+919999999999")
    Phone(number='9999999999', country_code='+91')
    >>> checked_phone(Phone("07911123456", "+44"))
    Phone(number='07911123456', country_code='+44')
    """
    phone = Phone(value) if isinstance(value, str) else value
    if not isinstance(phone, Phone):
        raise InvalidMessage(path, f"must be a Phone or one E.164 text, not {type(value).__name__}")
    number, code = phone.number, phone.country_code
    if not isinstance(number, str):
        raise InvalidMessage(f"{path}.number", f"must be text, not {type(number).__name__}")
    if code is None and number.startswith("+"):
        digits = number[1:]
        code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in CALLING_CODES), None)
        if code is None:
            raise InvalidMessage(path, "does not start with a known country calling code")
        number, code = digits[len(code) :], f"+{code}"
    # isdigit() alone would let Arabic-Indic and superscript digits through.
    if not (number.isascii() and number.isdigit()):
        if isinstance(value, str):  # who wrote one text need not know of its parts
            raise InvalidMessage(path, "write + and digits only, such as +919999999999")
        raise InvalidMessage(f"{path}.number", "must be digits only; put the country code into country_code")
    if len(number) > 15:
        raise InvalidMessage(f"{path}.number", "has more than the 15 digits that E.164 allows")
    if code is not None:
        if not isinstance(code, str):
            raise InvalidMessage(f"{path}.country_code", f"must be text such as '+91', not {type(code).__name__}")
        if code.removeprefix("+") not in CALLING_CODES:
            raise InvalidMessage(f"{path}.country_code", "is not a known country calling code")
    return Phone(number, code)

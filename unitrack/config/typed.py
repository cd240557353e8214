"""Values of a configuration as the types that settings declare: strictly, and without ever printing a value."""

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, frozen, has
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError

from ..errors import ConfigError, nearest
from .files import MAX_SECRET_BYTES, read_text
from .wording import expected, is_list, is_literal, is_table, is_union, name_of, unknown

#: How shells and other tools refer to an environment variable; as a credential it would be sent as it stands.
_SHELL_VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")


class _Wrong(Exception):
    """What does not fit, as places below the key that is being read (``[2]``, ``.name``) and what is said of them."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__(*problems)
        self.problems = problems


class _BadReference(_Wrong):
    """A secret that is not where it should be; no other reading of the value can help."""


@frozen
class Variable:
    """The text of an environment variable, until it is known which type it should have."""

    name: str
    text: str

    def __repr__(self) -> str:
        return f"Variable({self.name!r})"  # the text may be a secret


def make_converter(environ: Mapping[str, str], folder: Path) -> Converter:
    """Make a cattrs converter that takes nothing for something else: no 3 for "3", no "no" for False.

    Args:
        environ: what ``{ env = "NAME" }`` refers to.
        folder: where ``{ file = "name" }`` is looked for if the name is relative.
    """
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)

    def text(value: Any, _: Any) -> str:
        if isinstance(value, Mapping):
            value = _referred(value, environ, folder)
        elif isinstance(value, str) and (shell := _SHELL_VARIABLE.fullmatch(value)):
            raise _BadReference(("", f' must be written as {{ env = "{shell[1]}" }}; a text is taken as it is'))
        return str(_checked(value, str))

    def each(kind: Any) -> Callable[[Any, Any], Any]:
        items = [argument for argument in get_args(kind) if argument is not ...]

        def list_of(value: Any, _: Any) -> Any:
            # A text is a sequence of letters to Python; nobody ever means that in a configuration.
            if not isinstance(value, (list, tuple)):
                raise _must_be(expected(kind, value))
            found = [_at(f"[{index}]", converter, item, items[0]) for index, item in enumerate(value)]
            return tuple(found) if get_origin(kind) is tuple else found

        return list_of

    def members(kind: Any) -> Callable[[Any, Any], Any]:
        def table_of(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise _must_be(expected(kind, value))
            return {str(name): _at(f".{name}", converter, item, get_args(kind)[1]) for name, item in value.items()}

        return table_of

    def either(kind: Any) -> Callable[[Any, Any], Any]:
        def first_that_fits(value: Any, _: Any) -> Any:
            if value is None and NoneType in get_args(kind):
                return None
            if isinstance(value, Mapping):
                # A table can only be meant for the one choice that has keys of its own, so its mistakes are told.
                for choice in filter(has, get_args(kind)):
                    return converter.structure(value, choice)
            deeper: _Wrong | None = None
            for choice in get_args(kind):
                try:
                    return converter.structure(value, choice)
                except _BadReference:
                    raise
                except _Wrong as error:
                    deeper = error if any(place for place, _ in error.problems) else deeper
                except Exception:  # noqa: BLE001, S112  this choice does not take it; the next one may
                    continue
            raise deeper or _must_be(expected(kind, value))

        return first_that_fits

    def choice(kind: Any) -> Callable[[Any, Any], Any]:
        return lambda value, _: _choice(
            _referred(value, environ, folder) if isinstance(value, Mapping) else value, kind
        )

    converter.register_structure_hook(str, text)
    for plain in (int, float, bool):
        converter.register_structure_hook(plain, lambda value, kind: _checked(value, kind))
    converter.register_structure_hook(NoneType, lambda value, kind: _checked(value, kind))
    converter.register_structure_hook_factory(is_list, each)
    converter.register_structure_hook_factory(is_table, members)
    converter.register_structure_hook_factory(is_union, either)
    converter.register_structure_hook_factory(is_literal, choice)
    return converter


def structured(converter: Converter, value: Any, kind: Any, path: str, problems: list[str]) -> Any:
    """Return ``value`` as ``kind``; what is wrong is added to ``problems``, one sentence each, ``None`` returned."""
    if isinstance(value, Variable):
        path = f"{path} (from {value.name})"
        value = _from_text(value.text, kind)
    try:
        return converter.structure(value, kind)
    except Exception as error:  # noqa: BLE001  # the validators of a nested settings class may raise anything
        problems.extend(f"{path}{below}{said}" for below, said in _problems(error))
        return None


def _from_text(text: str, kind: Any) -> Any:
    """Read an environment variable: as TOML where something else than text is expected."""
    accepted = set(get_args(kind)) - {NoneType} if is_union(kind) else {kind}
    if all(choice is str or is_literal(choice) for choice in accepted):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, a number of thousands of digits, or nested too deeply
        return text  # refused below, unless the setting takes text too
    return table["value"] if table.keys() == {"value"} else text


def _problems(error: BaseException) -> Iterator[tuple[str, str]]:
    """Return the places below the key that is being read, and what is wrong there."""
    match error:
        case _Wrong():
            yield from error.problems
        case ClassValidationError():
            # Only for settings that are attrs classes themselves. cattrs notes the attribute that it was at.
            for inner in error.exceptions:
                place = "".join(f".{note.name}" for note in getattr(inner, "__notes__", ()) if hasattr(note, "name"))
                if place and isinstance(inner, KeyError):
                    yield place, " is missing"
                else:
                    yield from ((place + below, said) for below, said in _problems(inner))
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield f".{name}", unknown("", name, setting_types(error.cl))
        case ConfigError():
            yield "", f": {error}"
        case _:
            # Not the error's own text: it may quote the value, and the value may be a secret.
            yield "", f": {type(error).__name__} while it was checked"


def _must_be(what: str) -> _Wrong:
    return _Wrong(("", f" must be {what}"))


def setting_types(cls: Any) -> dict[str, Any]:
    """Return the keys of an attrs class in a configuration, its names in ``__init__``, with their types."""
    hints = get_type_hints(cls)
    return {str(f.alias): hints.get(f.name, Any) for f in fields(cls) if f.init}


def required_settings(cls: Any) -> list[str]:
    """Return the keys without a default."""
    return [str(f.alias) for f in fields(cls) if f.init and f.default is NOTHING]


def _at(place: str, converter: Converter, value: Any, kind: Any) -> Any:
    try:
        return converter.structure(value, kind)
    except Exception as error:  # noqa: BLE001  as in structured()
        found = [(place + below, said) for below, said in _problems(error)]
        raise (_BadReference if isinstance(error, _BadReference) else _Wrong)(*found) from None


def _checked(value: Any, kind: Any) -> Any:
    fits = type(value) in ((int, float) if kind is float else (kind,)) or (kind is str and isinstance(value, str))
    if not fits or (kind is float and not math.isfinite(value)):
        raise _must_be(expected(kind, value))
    return float(value) if kind is float else value


def _choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if not any(value == word and type(value) is type(word) for word in choices):
        # A text is not shown: a secret that stands on the wrong line would end up in a log.
        raise _must_be(
            name_of(kind) + nearest(value, map(str, choices)) if isinstance(value, str) else expected(kind, value)
        )
    return value


def _referred(value: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> str:
    """Return what ``{ env = … }`` or ``{ file = … }`` refers to."""
    if len(value) != 1 or not (value.keys() & {"env", "file"}):
        extra = next((str(name) for name in value if name not in ("env", "file")), "")
        raise _must_be(
            'text, { env = "NAME" } or { file = "PATH" }, and nothing beside it'
            + (f"; {extra!r} is not understood" if extra else "")
        )
    kind, name = next(iter(value.items()))
    if not isinstance(name, str) or not name or "\0" in name:
        raise _BadReference(("", f": what follows {kind!r} must be a name"))
    if kind == "env":
        if name not in environ:
            raise _BadReference(("", f": the environment variable {name} is not set"))
        return environ[name]
    try:
        return read_text(folder / name, MAX_SECRET_BYTES).rstrip("\r\n")
    except ConfigError as error:
        raise _BadReference(("", f": cannot read the secret file {error}")) from None

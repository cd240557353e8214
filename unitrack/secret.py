"""Text that a provider needs and nobody else may see."""

import functools
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self, TypeVar

_T = TypeVar("_T", bound=Callable[..., Any])


#: What is said of a credential that somebody gave as data.
NO_DATA = "is the credential of a provider; it is never sent as data"


class Secret(str):
    """A credential: behaves like text where it is sent, but shows nothing in a repr and cannot be pickled.

    >>> Secret("s3cr3t")
    ***
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a credential is never pickled; give the other process the configuration and let it read its own"
        )


def sealed(value: Any) -> Any:
    """Turn text into a :class:`Secret`, without the blanks and line ends that come with a copied key."""
    return Secret(value.strip()) if isinstance(value, str) else value


def sealed_table(values: Any) -> Any:
    """Turn every text of a table into a :class:`Secret`."""
    return {name: sealed(value) for name, value in values.items()} if isinstance(values, Mapping) else values


def discreet(made: _T) -> _T:
    """Decorate a function or a class so that what it raises tells no variable's value.

    Error trackers print the variables of every frame that an exception came through, and here those are headers,
    bodies and credentials. The lines of code stay to be seen.
    """
    if isinstance(made, type):
        cls: Any = made
        cls.__init__ = discreet(cls.__init__)
        return made

    @functools.wraps(made)
    def call(*args: Any, **settings: Any) -> Any:
        try:
            return made(*args, **settings)
        except Exception as error:
            args, settings = (), {}
            _forget_variables(error)
            raise

    return call  # type: ignore[return-value]  # as it was, for whoever calls it


def _forget_variables(error: BaseException) -> None:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            waiting += [one.__cause__, one.__context__]

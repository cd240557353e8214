"""Text that a provider needs and nobody else may see."""

from typing import Any, NoReturn, Self


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

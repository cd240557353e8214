"""How far an import has come, in a small file beside the imported one, so that it can go on after an interrupt."""

import json
import os
from pathlib import Path
from typing import Self

from attrs import asdict, fields, frozen

from ..errors import ConfigError

VERSION = 1
SUFFIX = ".unitrack-state"
MAX_FILE_BYTES = 64 * 1024


@frozen(kw_only=True)
class State:
    """Every row before ``end`` is settled.

    Attributes:
        mapping: fingerprint of the mapping, as hex.
        prefix: digest of the file's bytes up to ``end``, as hex, to notice that another file took its place.
        end: bytes of the file.
        rows, rejected, failed: what was counted up to there.
        rejects_end: bytes of the file with the rejected rows that belong to these rows.
    """

    mapping: str
    prefix: str
    end: int
    rows: int
    rejected: int
    failed: int
    rejects_end: int

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read a state; ``None`` if there is none.

        Raises:
            ConfigError: it is not readable, saying how to start anew.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}; --restart begins anew") from error
        try:
            data = json.loads(content)
            if data.pop("version") != VERSION:
                raise ValueError
            state = cls(**data)
            for attribute in fields(cls):
                if type(getattr(state, attribute.name)) is not attribute.type:
                    raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{path} is no state of an import; --restart begins anew") from error
        return state

    @staticmethod
    def beside(path: Path) -> Path:
        """Return the file that is written first and then takes the place of ``path``."""
        return path.with_name(path.name + ".new")

    def save(self, path: Path) -> None:
        """Write it so that a crash leaves either the old or the new state, never half of one."""
        beside = self.beside(path)
        with beside.open("wb") as file:
            file.write(json.dumps({"version": VERSION, **asdict(self)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

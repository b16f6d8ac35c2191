"""Finding and opening files, with one line that helps when that fails."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seepage.errors import InputError

__all__ = ["data_root", "first_existing", "open_plain_or_gz", "read_all", "reading"]


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the official data sets: `root`, else SEEPAGE_DATA, else ~/.cache/seepage."""
    if root is not None:
        return Path(root).expanduser()
    env = os.environ.get("SEEPAGE_DATA")
    return Path(env).expanduser() if env else Path.home() / ".cache" / "seepage"


@contextmanager
def reading(path: object, expected: str) -> Iterator[None]:
    """Turn whatever the system says about an unreadable file into one `InputError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected {expected}, found no such file; check the path"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected {expected}, got a folder; name the file") from error
    except PermissionError as error:
        raise InputError(
            f"{path}: expected {expected}, got permission denied; make it readable for this user"
        ) from error
    except (EOFError, zlib.error, tarfile.TarError, OSError) as error:
        raise InputError(
            f"{path}: expected {expected}, got a truncated or corrupt file "
            f"({one_line(error)}); fetch it again"
        ) from error


def one_line(error: BaseException, width: int = 160) -> str:
    """The message of a foreign error on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= width else text[: width - 1] + "…"


def open_plain_or_gz(path: Path) -> gzip.GzipFile:
    """Open for reading, unpacking when the name ends in .gz (the caller closes it)."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_all(path: Path, expected: str) -> bytes:
    """The whole file, unpacked; empty files are refused."""
    with reading(path, expected), open_plain_or_gz(path) as stream:
        data: bytes = stream.read()
    if not data:
        raise InputError(f"{path}: expected {expected}, got an empty file; fetch it again")
    return data


def first_existing(candidates: Iterable[Path]) -> Path | None:
    """The first path that exists, or None."""
    return next((p for p in candidates if p.exists()), None)

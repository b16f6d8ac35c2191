"""Whether runs may begin in a folder: a new one, an empty one, or one where a beginning was cut off."""

from __future__ import annotations

import os
import re

from seepage.errors import CorruptStore, InputError
from seepage.local_paths import local_path
from seepage.store.storage import Storage

__all__ = ["check_free"]

# What is written before the manifest, with which a run folder exists.
_BEGINNING = re.compile(
    r"locks(-[a-z]+)?/[^/]+\.json|plan/(member|seeds)/(zarr\.json|c/0(/0)?)"
    r"|data/(labels|offsets|zlib)/(zarr\.json|c/0)|data/(ids|groups)\.json|signals/[^/]+/zarr\.json"
    r"|manifest\.copy\.json"
)
# What runs write, which always comes after it.
_RUNS = re.compile(r"records/\d+\.json|signals/[^/]+/c/[\d/]+|(state|weights)/.+\.safetensors")
_OF_RUNS = ("records/", "signals/", "state/", "weights/")


def check_free(where: str | os.PathLike[str]) -> None:
    """Refuse to begin where something lies already; nothing is written or made.

    A run folder passes: it is compared with what is to be trained. Hidden files and `lost+found`
    are passed over, wherever they are. Raises CorruptStore where runs lie whose manifest was lost,
    InputError where files lie that no run folder has.
    """
    storage = Storage(where) if _there(where) else None
    if storage is None or storage.exists("manifest.json"):
        return
    found = storage.first_key(lambda key: not (_hidden(key) or _BEGINNING.fullmatch(key)))
    if found is None:
        return
    if any(_RUNS.fullmatch(key) for folder in _OF_RUNS for key in storage.keys(folder)):
        raise CorruptStore(
            f"{storage.where}/manifest.json: expected that of the runs that lie there, found none; "
            "run `seepage repair` on this folder or choose another"
        )
    raise InputError(
        f"{storage.where}: expected a run folder or an empty one, got one that holds {found!r}; "
        "choose another place"
    )


def _there(where: str | os.PathLike[str]) -> bool:
    text = os.fspath(where)
    return "://" in text or local_path(text, "run folder").is_dir()


def _hidden(key: str) -> bool:
    return any(part.startswith(".") or part == "lost+found" for part in key.split("/"))

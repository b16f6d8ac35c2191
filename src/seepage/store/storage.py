"""Where a run folder is stored: a local folder or object storage, one interface for both.

On a local disk a key is written to a temporary file, synced, renamed over the old one and the folder
synced, so that after a crash or power loss every key holds either what was there before or the whole
new value. Object storage goes through Zarr's stores, which are imported where they are needed: reading
a local folder needs none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seepage.errors import CorruptStore, InputError, SeepageError, StorageFailed
from seepage.local_paths import local_path
from seepage.store.local_files import files_below, make_folders, put_durably

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["Storage", "json_digest"]

_CLAIMS = 1.0


def json_digest(value: Any) -> str:
    """SHA-256 of a value as `Storage.put_json` writes it, whatever the order of its keys.

    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(_indented(value).encode()).hexdigest()


def _indented(value: Any, line: str = "\n") -> str:
    """What `json.dumps` gives with sorted keys, an indent of 1 and no NaN, in a third of its time.

    Its own encoder of indented text is not the compiled one.
    """
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, list | tuple) and value:
        inner = line + " "
        return "[" + inner + ("," + inner).join([_indented(v, inner) for v in value]) + line + "]"
    if isinstance(value, dict) and value and all(isinstance(k, str) for k in value):
        inner = line + " "
        items = [
            f"{encode_basestring_ascii(k)}: {_indented(value[k], inner)}" for k in sorted(value)
        ]
        return "{" + inner + ("," + inner).join(items) + line + "}"
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).replace("\n", line)


def _bytes_of(path: Path) -> bytes | None:
    """A file without the detour over its store, whose event loop runs in another thread."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


class Storage:
    """Bytes and checked JSON under string keys, at a local path or an `s3://` address."""

    def __init__(self, where: str | os.PathLike[str], *, write: bool = False) -> None:
        self.where = os.fspath(where)
        self.local = None if "://" in self.where else local_path(self.where, "run folder")
        self._root = None if self.local is None else self.local.absolute()
        self.write = write
        if self.local is None:
            # An address that cannot be opened is refused before anything else.
            self.store  # noqa: B018
        else:
            self._check_local(self.local)

    def _check_local(self, local: Path) -> None:
        if self.write:
            try:
                make_folders(local)
            except OSError as e:
                raise InputError(
                    f"{self.where}: expected a folder that can be written, got "
                    f"{e.strerror or e}; choose another place"
                ) from None
            if not os.access(local, os.W_OK):
                raise InputError(
                    f"{self.where}: expected write permission, got none; choose another place"
                )
        elif not local.is_dir():
            raise InputError(
                f"{self.where}: expected a run folder, found none; "
                "train one with `seepage audit` or check the path"
            )

    @cached_property
    def store(self) -> Store:
        """Zarr's store of this place."""
        if self._root is not None:
            from seepage.store.durable import DurableStore

            return DurableStore(self._root, read_only=not self.write)
        try:
            import fsspec

            protocol = self.where.split("://", 1)[0]
            fsspec.get_filesystem_class(protocol)
        except (ImportError, ValueError) as e:
            raise InputError(
                f"{self.where}: expected an address whose driver is installed, got {e}; "
                "for S3 install seepage[s3]"
            ) from None
        # Other processes write to the same place: a listing kept aside would be out of date.
        options: dict[str, Any] = {"use_listings_cache": False}
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if protocol == "s3" and endpoint:
            options["endpoint_url"] = endpoint
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.where, storage_options=options, read_only=not self.write)

    @contextlib.contextmanager
    def _reach(self, key: str) -> Iterator[None]:
        """Failures of the disk or the network as one line with the key."""
        try:
            yield
        except SeepageError:
            raise
        except Exception as e:
            # Drivers of object stores raise classes of their own for what a disk calls OSError.
            if self.local is not None and not isinstance(e, OSError):
                raise
            raise StorageFailed(
                f"{self.where}/{key}: expected to be reached, got {type(e).__name__}: {e}; "
                "check the address, the credentials and the permissions"
            ) from None

    def get(self, key: str) -> bytes | None:
        """Bytes under `key`, or None when it is absent."""
        with self._reach(key):
            if self._root is not None:
                return _bytes_of(self._root / key)
            from zarr.core.buffer import default_buffer_prototype
            from zarr.core.sync import sync

            found = sync(self.store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def bytes_of(self, key: str) -> bytes:
        """Bytes under `key`, empty when it is absent."""
        return self.get(key) or b""

    def read_into(self, key: str, start: int, room: memoryview) -> int:
        """Fill `room` with the bytes of `key` from `start` on; how many there were."""
        with self._reach(key):
            if self.local is None:
                from zarr.abc.store import RangeByteRequest
                from zarr.core.buffer import default_buffer_prototype
                from zarr.core.sync import sync

                wanted = RangeByteRequest(start, start + len(room))
                found = sync(self.store.get(key, default_buffer_prototype(), wanted))
                raw = b"" if found is None else found.to_bytes()
                room[: len(raw)] = raw
                return len(raw)
            try:
                with (self.local / key).open("rb", buffering=0) as f:
                    f.seek(start)
                    return f.readinto(room) or 0
            except FileNotFoundError:
                return 0

    def put(self, key: str, value: bytes) -> None:
        """Write `key` whole: a reader sees the old value or the new one, never a part."""
        with self._reach(key):
            if self._root is not None and self.write:
                put_durably(self._root / key, value)
                return
            from zarr.core.buffer import default_buffer_prototype
            from zarr.core.sync import sync

            sync(self.store.set(key, default_buffer_prototype().buffer.from_bytes(value)))

    def delete(self, key: str) -> None:
        """Remove `key`; absent keys are no error."""
        with self._reach(key):
            from zarr.core.sync import sync

            sync(self.store.delete(key))

    def exists(self, key: str) -> bool:
        """Whether `key` holds a value."""
        with self._reach(key):
            if self._root is not None:
                return (self._root / key).is_file()
            from zarr.core.sync import sync

            return sync(self.store.exists(key))

    def size(self, key: str) -> int | None:
        """How many bytes `key` holds, or None when it is absent."""
        try:
            with self._reach(key):
                if self._root is not None:
                    return (self._root / key).stat().st_size
                from zarr.core.sync import sync

                return sync(self.store.getsize(key))
        except (StorageFailed, FileNotFoundError):
            if self.exists(key):
                raise
            return None

    def keys(self, prefix: str) -> list[str]:
        """All keys under `prefix`, sorted, temporary files left out."""

        with self._reach(prefix):
            if self._root is not None:
                found = files_below(self._root, prefix)
            else:
                from zarr.core.sync import sync

                async def collect() -> list[str]:
                    return [k async for k in self.store.list_prefix(prefix)]

                found = sync(collect())
            return sorted(k for k in found if not k.endswith(".partial"))

    def first_key(self, wanted: Callable[[str], bool]) -> str | None:
        """Some key for which `wanted` holds; a large folder is not listed to its end."""

        def some(key: str) -> bool:
            return not key.endswith(".partial") and wanted(key)

        with self._reach(""):
            if self._root is not None:
                return next(filter(some, files_below(self._root, "")), None)
            from zarr.core.sync import sync

            async def look() -> str | None:
                async for key in self.store.list_prefix(""):
                    if some(key):
                        return key
                return None

            return sync(look())

    def sweep(self, older: float) -> int:
        """Remove what killed writers left half-written at least `older` seconds ago; how many.

        For the owner of the folder alone: another writer's file of that age would be taken away.
        Object stores have nothing to sweep, a key appears there when it is whole.
        """
        if self.local is None:
            return 0
        return self._removed(self.local.rglob(".*.partial"), older)

    def sweep_claims(self) -> int:
        """Remove what writers left of claims that they were killed in the middle of; how many."""
        if self.local is None:
            return 0
        return self._removed(self.local.glob("locks*/.*.partial"), 0.0)

    def _removed(self, partials: Iterable[Path], older: float) -> int:
        found = 0
        until = time.time() - older
        for partial in partials:
            # Others write their claims whoever owns the folder.
            margin = _CLAIMS if partial.parent.name.startswith("locks") else 0.0
            with contextlib.suppress(OSError):
                if partial.stat().st_mtime <= until - margin:
                    partial.unlink()
                    found += 1
        return found

    def put_json(self, key: str, value: Any) -> None:
        """JSON with the SHA-256 of its text, so that a changed byte is noticed."""
        envelope = {"sha256": json_digest(value), "content": value}
        self.put(key, _indented(envelope).encode())

    def get_json(self, key: str) -> Any:
        """What `put_json` wrote, or None; CorruptStore when its digest does not hold."""
        return self.get_checked(key)[0]

    def get_checked(self, key: str) -> tuple[Any, str]:
        """What `put_json` wrote and the digest that it holds; (None, "") when it is absent.

        Raises CorruptStore when the digest does not hold.
        """
        raw = self.get(key)
        if raw is None:
            return None, ""
        try:
            envelope = json.loads(raw)
            content, digest = envelope["content"], envelope["sha256"]
            held = json_digest(content) == digest
        except (ValueError, KeyError, TypeError, RecursionError):
            held, content, digest = False, None, ""
        if not held:
            raise CorruptStore(
                f"{self.where}/{key}: its bytes are not those that were written; "
                "run `seepage repair` on this folder"
            )
        return content, digest

"""Zarr's store of a local folder, whose writes survive power loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from seepage.store.local_files import files_below, put_durably

__all__ = ["DurableStore"]


class DurableStore(LocalStore):
    """Zarr's local store whose writes survive power loss: write, sync, rename, sync."""

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        if not self._is_open:
            await self._open()
        self._check_writable()
        await asyncio.to_thread(put_durably, self.root / key, value.to_bytes())

    def set_sync(self, key: str, value: Buffer) -> None:
        self._ensure_open_sync()
        self._check_writable()
        put_durably(self.root / key, value.to_bytes())

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        # Zarr 3.1 takes the root's text out of keys wherever it occurs: in a volume mounted at
        # /data or /c, as containers have them, the key data/labels/c/0 would lose its folders.
        for key in await asyncio.to_thread(files_below, self.root, prefix):
            yield key

    async def list(self) -> AsyncIterator[str]:
        for key in await asyncio.to_thread(files_below, self.root, ""):
            yield key

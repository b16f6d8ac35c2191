"""Tensors as checked safetensors: weights and training states that notice a changed byte."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors.torch
import torch

from seepage.errors import CorruptStore

__all__ = ["pack", "unpack"]

_ZEROS = "0" * 64


def _metadata(raw: bytes) -> dict[str, Any]:
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found: dict[str, Any] = json.loads(header["__metadata__"]["seepage"])
    return found


def pack(tensors: dict[str, torch.Tensor], facts: dict[str, Any] | None = None) -> bytes:
    """A safetensors file of host copies, with JSON `facts` and the SHA-256 of the whole file.

    The digest is taken with zeros in its own place, so every byte of the file is covered.
    """
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # One field only: safetensors writes several in an order that changes from process to process.
    metadata = json.dumps({"sha256": _ZEROS, "facts": facts or {}})
    raw = safetensors.torch.save(plain, metadata={"seepage": metadata})
    return raw.replace(_ZEROS.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def unpack(raw: bytes, where: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `pack` was given; CorruptStore, naming `where`, when a byte changed.

    >>> raw = pack({"w": torch.ones(2)}, {"epoch": 3})
    >>> unpack(raw, "here")[1]
    {'epoch': 3}
    """
    try:
        metadata = _metadata(raw)
        digest = metadata["sha256"]
        blank = raw.replace(digest.encode(), _ZEROS.encode(), 1)
        if hashlib.sha256(blank).hexdigest() != digest:
            raise ValueError
        return safetensors.torch.load(raw), metadata["facts"]
    except Exception:
        raise CorruptStore(
            f"{where}: its bytes are not those that were written; "
            "run `seepage repair` on this folder"
        ) from None

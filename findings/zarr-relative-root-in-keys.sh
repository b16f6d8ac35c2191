#!/usr/bin/env bash
# zarr 3.1.6: a LocalStore that is opened by a relative path takes the text of that path, with its
# slash, out of every key that list_prefix gives, wherever it occurs, not only at the front. In a
# folder called "r" the key "number/chapter/c/0" is listed as "numbechaptec/0"; in one called "c" it
# loses its chunk folder. The same folder opened by its absolute path lists the keys as they are.
# Reading and writing single keys is not affected, so that the loss is seen only by what lists.
#
# Fails if the two listings agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "zarr==3.1.6" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import os

import zarr
from zarr.storage import LocalStore


async def keys(store):
    return sorted([key async for key in store.list_prefix("")])


for root in ("r", "c"):
    array = zarr.create_array(
        LocalStore(root), name="number/chapter", shape=(2,), chunks=(1,), dtype="i4"
    )
    array[...] = 1
    relative = asyncio.run(keys(LocalStore(root)))
    absolute = asyncio.run(keys(LocalStore(os.path.abspath(root))))
    print(f"zarr {zarr.__version__}, folder {root!r}: relative {relative}, absolute {absolute}")
    assert "number/chapter/c/0" in absolute
    assert relative != absolute, "the listings agree"
print("as described")
PYTHON

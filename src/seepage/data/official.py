"""Fetching the official files, on request only, each checked against its SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seepage.data.reading import one_line
from seepage.errors import InputError

__all__ = ["OFFICIAL", "OfficialFile", "Progress", "download", "fetch"]

# Called with the file's name, the bytes done and the bytes in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class OfficialFile:
    """Where a published file is, where it goes below the root, and what it must be."""

    url: str
    place: str
    size: int
    sha256: str


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_ADULT = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"


def _files(base: str, folder: str, *files: tuple[str, int, str]) -> tuple[OfficialFile, ...]:
    return tuple(OfficialFile(base + f, folder + f, size, digest) for f, size, digest in files)


OFFICIAL: dict[str, tuple[OfficialFile, ...]] = {
    "mnist": _files(
        _MNIST,
        "MNIST/raw/",
        (
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": _files(
        _FASHION,
        "FashionMNIST/raw/",
        (
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "cifar10": _files(
        _CIFAR,
        "cifar10/",
        (
            "cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    "cifar100": _files(
        _CIFAR,
        "cifar100/",
        (
            "cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    ),
    "adult": _files(
        _ADULT,
        "adult/",
        (
            "adult.data",
            3_974_305,
            "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        ),
        (
            "adult.test",
            2_003_153,
            "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        ),
    ),
}


def download(name: str, root: Path, progress: Progress | None = None) -> list[Path]:
    """Fetch the official files of `name` below root; those already there are left alone.

    A name without official files, such as "digits", needs none.
    """
    paths = []
    for file in OFFICIAL.get(name, ()):
        path = root / file.place
        if not path.exists():
            fetch(file, path, progress=progress)
        paths.append(path)
    return paths


def fetch(
    file: OfficialFile, path: Path, *, progress: Progress | None = None, timeout: float = 30.0
) -> None:
    """Download one file to `path`: checked for size and SHA-256 first, then moved there at once.

    A reader never sees a part of it; whatever goes wrong, nothing new is left behind.
    """
    where = f"{path.name} from {file.url}"
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        digest, done = hashlib.sha256(), 0
        with (
            os.fdopen(handle, "wb") as target,
            urllib.request.urlopen(file.url, timeout=timeout) as stream,
        ):
            while piece := stream.read(1 << 20):
                done += len(piece)
                if done > file.size:
                    break
                digest.update(piece)
                target.write(piece)
                if progress is not None:
                    progress(path.name, done, file.size)
        if done != file.size or digest.hexdigest() != file.sha256:
            raise InputError(
                f"{where}: expected {file.size} bytes with SHA-256 {file.sha256[:12]}…, got "
                f"{'more' if done > file.size else done} bytes with {digest.hexdigest()[:12]}…; "
                "try again, or fetch the official file by hand"
            )
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise InputError(
            f"{where}: expected to download it to {path.parent}, got {one_line(error)}; "
            "check the network and the folder, or put the file there by hand"
        ) from error
    finally:
        if temporary is not None:
            os.unlink(temporary)

"""Image sets as uint8 arrays: digits inside scikit-learn, and MNIST, CIFAR and SVHN from files.

``<name>.npz`` in the data folder is read first (arrays ``x_train``, ``y_train``, ``x_test``,
``y_test``, ``class_names``), under any name: that is how people bring their own images. Next come
the files of torchvision's layout, whose published checksums are compared before they are opened.
"""

import hashlib
import os
import re
import tempfile
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray

from lecore.data.npz_images import one_line, read_npz
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError

Pixels = NDArray[np.uint8]

DATASETS = {
    "digits": "1,797 handwritten digits, 8 × 8, grey (inside scikit-learn)",
    "mnist": "70,000 handwritten digits, 28 × 28, grey",
    "cifar10": "60,000 photographs of 10 classes, 32 × 32, colour",
    "cifar100": "60,000 photographs of 100 classes, 32 × 32, colour",
    "svhn": "99,289 house number digits, 32 × 32, colour",
}
"""The sets that lecore knows by name."""

PUBLISHED_MD5 = {
    "mnist": {
        "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "cifar10": {
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
        "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar100": {
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
    },
    "svhn": {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
}
"""Published checksum of every file in torchvision's layout, known without importing torchvision."""


class Images(NamedTuple):
    """An image set.

    Attributes:
        name: Its name.
        x_train: Shape (n, h, w) or (n, h, w, 3), uint8, in the original order.
        y_train: Class of each image, shape (n,), int64.
        x_test: As ``x_train``.
        y_test: As ``y_train``.
        class_names: Name of each class.
    """

    name: str
    x_train: Pixels
    y_train: NDArray[np.int64]
    x_test: Pixels
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]


def data_folder() -> Path:
    """Where image files lie: ``LECORE_DATA`` if set, else the user's cache folder."""
    import platformdirs

    named = os.environ.get("LECORE_DATA")
    return Path(named) if named else Path(platformdirs.user_cache_dir("lecore"))


def load(name: str) -> Images:
    """Read an image set; nothing is downloaded.

    The digits are scaled from 0…16 to 0…255 (rounded), and their last 297 are the test set.

    Args:
        name: A key of :data:`DATASETS`, or the name of an ``.npz`` file in the data folder.

    Raises:
        FileNotFoundError: If the set is not in the data folder.
        LecoreError: If a file is damaged or its content is not an image set.
    """
    if _npz(name).exists():
        return _load_npz(name)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        y = digits.target.astype(np.int64)
        return Images(name, x[:-297], y[:-297], x[-297:], y[-297:], tuple("0123456789"))
    _check(name)
    try:
        if name == "mnist":
            return _load_mnist()
        train, test = _torchvision_sets(name, data_folder(), download=False)
        classes = getattr(train, "classes", "0123456789")
        return Images(name, *_arrays(train), *_arrays(test), tuple(str(c) for c in classes))
    except (
        *(AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
        *(RuntimeError, TypeError, ValueError),  # of readers of three formats
    ) as error:
        cure = f"run `lecore data fetch {name}` to replace it"
        raise LecoreError(f"{name} is damaged ({one_line(error)})", cure) from error


def fetch(name: str) -> None:
    """Download an image set into the data folder through torchvision, unless it is there intact.

    Only whole, checked files reach the data folder, where they replace damaged ones.

    Raises:
        ConnectionError: If the download fails.
        FileNotFoundError: If the set is not one that torchvision has.
    """
    if name == "digits" or _npz(name).exists():
        return
    if name not in PUBLISHED_MD5:
        raise _missing(name)
    try:
        _check(name)
    except (FileNotFoundError, ValueError):
        _download(name)


def verify(name: str) -> str:
    """Read a set in full, checksums included, and describe it in one line.

    Raises:
        FileNotFoundError: As :func:`load`.
        LecoreError: As :func:`load`.
    """
    images = load(name)
    return (
        f"{name}: {len(images.x_train)} training and {len(images.x_test)} test images "
        f"{' × '.join(map(str, images.x_train.shape[1:]))}, {len(images.class_names)} classes, "
        f"SHA-256 {fingerprint(name)[:12]}…"
    )


def fingerprint(name: str) -> str:
    """SHA-256 of the files that :func:`load` would read, without reading them as images.

    Raises:
        FileNotFoundError: If they are not there.
    """
    if _npz(name).exists():
        files = [_npz(name)]
    elif name == "digits":
        sklearn = find_spec("sklearn")  # found, not imported: that takes a second
        assert sklearn is not None
        assert sklearn.origin is not None
        digits = Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz"
        return hashlib.sha256(digits.read_bytes()).hexdigest()
    else:
        files = _files(name)
    total = hashlib.sha256()
    for file in files:
        if not file.exists():
            raise _missing(name)
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


Normalized = bool | Literal["first channel"]
"""Whether pixels are mapped to [−1, 1], see :func:`scaled`."""


def scaled(images: Pixels, *, normalized: Normalized = True) -> NDArray[np.float32]:
    """Pixels as network inputs, channels first.

    Args:
        images: Shape (n, h, w) or (n, h, w, c), uint8.
        normalized: Map 0…255 to [−1, 1], as He & Su do; otherwise to [0, 1], as in their
            Table 8. ``first channel`` maps only red to [−1, 1] and leaves green and blue in
            [0, 1]: what torchvision before 0.2.2 made of a single mean for three channels, and what
            their CIFAR-10 numbers come from.

    Returns:
        Shape (n, c, h, w), float32.

    Raises:
        LecoreError: If ``normalized`` is another word.
    """
    if normalized not in (True, False, "first channel"):
        raise LecoreError(f"normalized must be True, False or 'first channel', not {normalized!r}")
    x: NDArray[np.float32] = images.astype(np.float32) / np.float32(255)
    x = x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1).copy()
    if normalized:
        mapped = x[:, :1] if normalized == "first channel" else x
        mapped *= 2
        mapped -= 1
    return x


def _npz(name: str) -> Path:
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise LecoreError(
            f"{name!r} is no name of a data set",
            "take letters, digits, points, hyphens and underscores; files lie in LECORE_DATA",
        )
    return data_folder() / f"{name}.npz"


def _missing(name: str) -> FileNotFoundError:
    cure = f"run `lecore data fetch {name}`, or set" if name in DATASETS else "set"
    known = "" if name in DATASETS else f", nor is it one of {', '.join(DATASETS)}"
    return FileNotFoundError(
        f"no data set {name!r} in {data_folder()}{known}; {cure} LECORE_DATA to the folder that "
        "holds it"
    )


def _load_npz(name: str) -> Images:
    parts = read_npz(_npz(name))
    names = tuple(str(c) for c in parts.pop("class_names"))
    return Images(name, **parts, class_names=names)


def _files(name: str) -> list[Path]:
    """Files of a set in torchvision's layout."""
    if name not in PUBLISHED_MD5:
        raise _missing(name)
    return [data_folder() / file for file in PUBLISHED_MD5[name]]


def _check(name: str) -> None:
    """Compare every checksum of a set in torchvision's layout: CIFAR's files are pickles."""
    for path, published in zip(_files(name), PUBLISHED_MD5[name].values(), strict=True):
        if not path.exists():
            raise _missing(name)
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "md5").hexdigest() != published:
                raise LecoreError(
                    f"{path} is damaged: its MD5 is not the published one; "
                    f"run `lecore data fetch {name}` to replace it"
                )


def _download(name: str) -> None:
    """Download beside the set's place and move there what is whole, damaged files replaced."""
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        try:
            _torchvision_sets(name, Path(scratch), download=True)
        except (URLError, HTTPException, ConnectionError, TimeoutError, RuntimeError) as error:
            raise ConnectionError(
                f"could not download {name} ({one_line(error)}); connect to the network, or put "
                f"{name}.npz or torchvision's files into {folder}"
            ) from error
        for file in PUBLISHED_MD5[name]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / file).replace(folder / file)


def _load_mnist() -> Images:
    """Read the four files themselves: torchvision's MNIST prefers old ``.pt`` files, unchecked."""
    mnist = import_torchvision().datasets.mnist
    parts = [mnist.read_sn3_pascalvincent_tensor(file).numpy() for file in _files("mnist")]
    x_train, y_train, x_test, y_test = parts
    classes = tuple(mnist.MNIST.classes)
    return Images(
        "mnist", x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), classes
    )


def _torchvision_sets(name: str, root: Path, *, download: bool) -> tuple[Any, Any]:
    """Torchvision's training and test split."""
    dataset = getattr(import_torchvision().datasets, name.upper())
    if name == "svhn":
        train, test = (dataset(root, split=s, download=download) for s in ("train", "test"))
        return train, test
    return dataset(root, train=True, download=download), dataset(root, False, download=download)


def _arrays(split: Any) -> tuple[Pixels, NDArray[np.int64]]:
    """Images and labels of a torchvision set, as arrays, channels last."""
    x = np.asarray(split.data)
    if type(split).__name__ == "SVHN":
        x = np.moveaxis(x, 1, -1)
    labels = split.labels if hasattr(split, "labels") else split.targets
    return np.ascontiguousarray(x, dtype=np.uint8), np.asarray(labels, dtype=np.int64)

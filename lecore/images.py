"""Image sets as uint8 arrays: digits inside scikit-learn, and MNIST, CIFAR and SVHN from files.

``<name>.npz`` in the data folder is read first (arrays ``x_train``, ``y_train``, ``x_test``,
``y_test``, ``class_names``), under any name: that is how people bring their own images. Next come
the files of torchvision's layout, whose published checksums are compared before they are opened.
"""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lecore.torchvision_import import import_torchvision

Pixels = NDArray[np.uint8]

DATASETS = {
    "digits": "1,797 handwritten digits, 8 × 8, grey (inside scikit-learn)",
    "mnist": "70,000 handwritten digits, 28 × 28, grey",
    "cifar10": "60,000 photographs of 10 classes, 32 × 32, colour",
    "cifar100": "60,000 photographs of 100 classes, 32 × 32, colour",
    "svhn": "99,289 house number digits, 32 × 32, colour",
}
"""The sets that lecore knows by name."""

MNIST_MD5 = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Published checksums of MNIST's extracted files, which torchvision itself never looks at."""


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
        ValueError: If a file is damaged or its content is not an image set.
    """
    if _npz(name).exists():
        return _load_npz(name)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        y = digits.target.astype(np.int64)
        return Images(name, x[:-297], y[:-297], x[-297:], y[-297:], tuple("0123456789"))
    train, test = _intact_torchvision_sets(name)
    classes = getattr(train, "classes", "0123456789")
    return Images(name, *_arrays(train), *_arrays(test), tuple(str(c) for c in classes))


def fetch(name: str) -> None:
    """Download an image set into the data folder through torchvision, unless it is there.

    Raises:
        ConnectionError: If the download fails.
        ValueError: If the set is not one that torchvision has.
    """
    if name == "digits" or _npz(name).exists():
        return
    try:
        _torchvision_sets(name, download=True)
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"could not download {name} ({error}); connect to the network, or put {name}.npz or "
            f"torchvision's files into {data_folder()}"
        ) from error


def verify(name: str) -> str:
    """Read a set in full, checksums included, and describe it in one line.

    Raises:
        FileNotFoundError: As :func:`load`.
        ValueError: As :func:`load`.
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
        import importlib.resources

        data = importlib.resources.files("sklearn.datasets.data") / "digits.csv.gz"
        return hashlib.sha256(data.read_bytes()).hexdigest()
    else:
        files = [data_folder() / file for file in _file_names(name)]
    total = hashlib.sha256()
    for file in files:
        if not file.exists():
            raise _missing(name)
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def scaled(images: Pixels, *, normalized: bool = True) -> NDArray[np.float32]:
    """Pixels as network inputs, channels first.

    Args:
        images: Shape (n, h, w) or (n, h, w, c), uint8.
        normalized: Map 0…255 to [−1, 1], as He & Su do; otherwise to [0, 1], as in their
            Table 8.

    Returns:
        Shape (n, c, h, w), float32.
    """
    x: NDArray[np.float32] = images.astype(np.float32) / np.float32(255)
    x = x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1)
    return x * 2 - 1 if normalized else x


def _npz(name: str) -> Path:
    return data_folder() / f"{name}.npz"


def _missing(name: str) -> FileNotFoundError:
    cure = f"run `lecore data fetch {name}`, or set" if name in DATASETS else "set"
    return FileNotFoundError(
        f"no data set {name!r} in {data_folder()}; {cure} LECORE_DATA to the folder that holds it"
    )


def _load_npz(name: str) -> Images:
    path = _npz(name)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            parts = {key: archive[key] for key in Images._fields[1:]}
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged or no image set ({error}); fetch it again") from error
    for split in ("train", "test"):
        x, y = parts[f"x_{split}"], parts[f"y_{split}"]
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or y.shape != (len(x),):
            raise ValueError(
                f"{path}: x_{split} must be uint8 of shape (n, h, w) or (n, h, w, c) with "
                f"y_{split} of shape (n,), got {x.dtype} {x.shape} and {y.shape}"
            )
        if len(y) and not (
            y.dtype.kind in "iu" and 0 <= y.min() <= y.max() < len(parts["class_names"])
        ):
            raise ValueError(f"{path}: y_{split} must be integers below the number of class_names")
        parts[f"y_{split}"] = y.astype(np.int64)
    names = tuple(str(c) for c in parts.pop("class_names"))
    return Images(name, **parts, class_names=names)


def _dataset_class(name: str) -> Any:
    classes = {"mnist": "MNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
    if name not in classes:
        raise _missing(name)
    return getattr(import_torchvision().datasets, classes[name])


def _torchvision_sets(name: str, *, download: bool) -> tuple[Any, Any]:
    dataset, root = _dataset_class(name), str(data_folder())
    if name == "svhn":
        train, test = (dataset(root, split=s, download=download) for s in ("train", "test"))
        return train, test
    return dataset(root, train=True, download=download), dataset(root, False, download=download)


def _file_names(name: str) -> list[str]:
    """Files of a set in torchvision's layout, relative to the data folder."""
    if name == "mnist":
        return list(MNIST_MD5)
    return list(_checksums(name))


def _checksums(name: str) -> dict[str, str]:
    """Published MD5 of every file of a set, from torchvision's own lists."""
    if name == "mnist":
        return MNIST_MD5
    dataset = _dataset_class(name)
    if name == "svhn":
        return {dataset.split_list[s][1]: dataset.split_list[s][2] for s in ("train", "test")}
    files = [*dataset.train_list, *dataset.test_list]
    files.append([dataset.meta["filename"], dataset.meta["md5"]])
    return {f"{dataset.base_folder}/{file}": md5 for file, md5 in files}


def _intact_torchvision_sets(name: str) -> tuple[Any, Any]:
    """Torchvision's two splits, after every checksum matched: CIFAR's files are pickles."""
    for file, published in _checksums(name).items():
        path = data_folder() / file
        if not path.exists():
            raise _missing(name)
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "md5").hexdigest() != published:
                raise ValueError(
                    f"{path} is damaged: its MD5 is not the published one; "
                    f"delete it and run `lecore data fetch {name}`"
                )
    return _torchvision_sets(name, download=False)


def _arrays(split: Any) -> tuple[Pixels, NDArray[np.int64]]:
    """Images and labels of a torchvision set, as arrays, channels last."""
    x = np.asarray(split.data)
    if type(split).__name__ == "SVHN":
        x = np.moveaxis(x, 1, -1)
    labels = split.labels if hasattr(split, "labels") else split.targets
    return np.ascontiguousarray(x, dtype=np.uint8), np.asarray(labels, dtype=np.int64)

"""Small image sets in their original formats, whose checksums count as the published ones."""

import hashlib
import pickle

import numpy as np
import scipy.io

from lecore.data import images
from lecore.data.torchvision_import import import_torchvision

RNG = np.random.default_rng(0)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def publish(name, folder, monkeypatch):
    """Let the checksums of the small files be the published ones."""
    sums = {file: md5(folder / file) for file in images.PUBLISHED_MD5[name]}
    monkeypatch.setitem(images.PUBLISHED_MD5, name, sums)


def make_mnist(folder, monkeypatch):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    truth = {}
    for split, n in (("train", 6), ("t10k", 3)):
        truth[split] = RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(raw / f"{split}-images-idx3-ubyte", truth[split])
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8))
    publish("mnist", folder, monkeypatch)
    return truth["train"], truth["t10k"]


def make_cifar(folder, monkeypatch, dataset, label_key, names_key):
    base = folder / dataset.base_folder
    base.mkdir()
    arrays = {}
    for attribute in ("train_list", "test_list"):
        entries = []
        for name, _ in getattr(dataset, attribute):
            x = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
            (base / name).write_bytes(pickle.dumps({"data": x, label_key: [0, 1]}))
            entries.append([name, md5(base / name)])
            arrays.setdefault(attribute, []).append(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        monkeypatch.setattr(dataset, attribute, entries)
    meta = base / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({names_key: ["cat", "dog"]}))
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": md5(meta)})
    publish(dataset.__name__.lower(), folder, monkeypatch)
    return tuple(np.concatenate(a) for a in arrays.values())


def make_cifar10(folder, monkeypatch):
    dataset = import_torchvision().datasets.CIFAR10
    return make_cifar(folder, monkeypatch, dataset, "labels", "label_names")


def make_cifar100(folder, monkeypatch):
    dataset = import_torchvision().datasets.CIFAR100
    return make_cifar(folder, monkeypatch, dataset, "fine_labels", "fine_label_names")


def make_svhn(folder, monkeypatch):
    dataset = import_torchvision().datasets.SVHN
    arrays, entries = [], dict(dataset.split_list)
    for split in ("train", "test"):
        url, name, _ = dataset.split_list[split]
        x = RNG.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
        scipy.io.savemat(folder / name, {"X": x, "y": np.array([[1], [2], [10], [3]], np.uint8)})
        entries[split] = [url, name, md5(folder / name)]
        arrays.append(x.transpose(3, 0, 1, 2))
    monkeypatch.setattr(dataset, "split_list", entries)
    publish("svhn", folder, monkeypatch)
    return tuple(arrays)


MAKERS = {
    "mnist": make_mnist,
    "cifar10": make_cifar10,
    "cifar100": make_cifar100,
    "svhn": make_svhn,
}

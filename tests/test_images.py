"""Image sets on small files in their original formats, damaged files, and He & Su's samples."""

import http.client
import io
import pickle
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lecore.data import images
from lecore.data.images import Images, load, scaled
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError
from lecore.studies.he_su.problems import CIFAR10_PAIRS, he_su_sample, pair_labels
from tests.examples import examples
from tests.image_files import MAKERS, RNG, make_cifar10, make_mnist, make_svhn, publish


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", MAKERS)
def test_original_formats_come_back_exactly(name, folder, monkeypatch):
    train, test = MAKERS[name](folder, monkeypatch)
    found = load(name)
    np.testing.assert_array_equal(found.x_train, train)
    np.testing.assert_array_equal(found.x_test, test)
    assert found.x_train.dtype == np.uint8
    assert found.y_train.dtype == np.int64
    assert len(found.y_train) == len(train)
    if name == "svhn":  # the digit 0 is stored as 10
        assert found.y_train.tolist() == [1, 2, 0, 3]
    assert f"{len(train)} training" in images.verify(name)


@pytest.mark.parametrize("name", MAKERS)
def test_a_changed_byte_is_found(name, folder, monkeypatch):
    MAKERS[name](folder, monkeypatch)
    before = images.fingerprint(name)
    path = next(p for p in sorted(folder.rglob("*")) if p.is_file() and "meta" not in p.name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert images.fingerprint(name) != before
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*lecore data fetch {name}"):
        load(name)
    path.write_bytes(data[:10])
    with pytest.raises(ValueError, match="is damaged"):
        load(name)
    path.unlink()
    for look in (load, images.fingerprint):
        with pytest.raises(FileNotFoundError, match="LECORE_DATA"):
            look(name)


def test_published_checksums_are_torchvisions():
    datasets = import_torchvision().datasets
    for cifar in (datasets.CIFAR10, datasets.CIFAR100):
        files = dict([*cifar.train_list, *cifar.test_list])
        files[cifar.meta["filename"]] = cifar.meta["md5"]
        found = {f"{cifar.base_folder}/{file}": md5 for file, md5 in files.items()}
        assert images.PUBLISHED_MD5[cifar.__name__.lower()] == found
    splits = datasets.SVHN.split_list
    found = {splits[s][1]: splits[s][2] for s in ("train", "test")}
    assert images.PUBLISHED_MD5["svhn"] == found


def test_published_checksums_are_whole_and_compared_whole(folder, monkeypatch):
    every = [md5 for files in images.PUBLISHED_MD5.values() for md5 in files.values()]
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in every)
    assert len(set(every)) == len(every)
    make_svhn(folder, monkeypatch)
    sums = images.PUBLISHED_MD5["svhn"]
    for file, md5 in dict(sums).items():
        for place in (0, 16, 31):
            wrong = md5[:place] + ("0" if md5[place] != "0" else "1") + md5[place + 1 :]
            monkeypatch.setitem(sums, file, wrong)
            with pytest.raises(LecoreError, match="is damaged: its MD5"):
                load("svhn")
        monkeypatch.setitem(sums, file, md5)


@pytest.mark.parametrize("name", MAKERS)
def test_files_that_lie_behind_a_right_checksum(name, folder, monkeypatch):
    MAKERS[name](folder, monkeypatch)
    for file in images.PUBLISHED_MD5[name]:
        if name == "mnist":
            data = bytes([0, 0, 8, 3]) + 3 * (2**31 - 1).to_bytes(4, "big") + bytes(100)
        else:
            data = b"MATLAB 5.0" + bytes(200) if name == "svhn" else pickle.dumps({"data": 2**70})
        (folder / file).write_bytes(data)
    publish(name, folder, monkeypatch)
    dataset = getattr(import_torchvision().datasets, name.upper())
    for look in ("_check_integrity", "_load_meta"):
        monkeypatch.setattr(dataset, look, lambda self: True, raising=False)
    with pytest.raises(LecoreError, match=f"{name} is damaged .*lecore data fetch {name}"):
        load(name)


def test_an_unchecked_old_mnist_file_is_not_read(folder, monkeypatch):
    train, _ = make_mnist(folder, monkeypatch)
    processed = folder / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(2)), processed / name)
    np.testing.assert_array_equal(load("mnist").x_train, train)


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_a_pickle_with_another_checksum_is_never_opened(folder, monkeypatch):
    make_cifar10(folder, monkeypatch)
    monkeypatch.chdir(folder)
    (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="is damaged"):
        load("cifar10")
    assert not (folder / "exploded").exists()


def test_digits_are_inside_scikit_learn():
    digits = load("digits")
    assert digits.x_train.shape == (1500, 8, 8)
    assert digits.x_test.shape == (297, 8, 8)
    assert digits.x_train.max() == 255
    assert len(images.fingerprint("digits")) == 64
    images.fetch("digits")


def own_images(**changes):
    arrays = {
        "x_train": np.zeros((4, 5, 5), np.uint8),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.zeros((2, 5, 5), np.uint8),
        "y_test": np.array([0, 1]),
        "class_names": np.array(["a", "b"]),
    }
    return arrays | changes


def test_own_images(folder):
    np.savez(folder / "mine.npz", **own_images())
    mine = load("mine")
    assert mine.class_names == ("a", "b")
    assert mine.x_train.shape == (4, 5, 5)
    images.fetch("mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((4, 5, 5))}, "must be uint8"),
        ({"y_train": np.array([0, 1])}, "must be uint8"),
        ({"y_test": np.array([0, 2])}, "below the number"),
        ({"y_test": np.array([0.0, 1.0])}, "below the number"),
        ({"class_names": np.array([object()])}, "damaged or no image set"),
        ({"class_names": np.array("a")}, "class_names must have shape"),
        ({"x_test": np.zeros((2, 6, 6), np.uint8)}, "differ in image size"),
    ],
)
def test_bad_own_images(folder, changes, message):
    np.savez(folder / "mine.npz", **own_images(**changes))
    with pytest.raises(ValueError, match=message):
        load("mine")


def write_members(path, **changes):
    """An archive of the usual members, of which some are raw bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in own_images().items():
            with archive.open(f"{key}.npy", "w") as stream:
                if key in changes:
                    stream.write(changes[key])
                else:
                    np.lib.format.write_array(stream, array)


def header(shape, dtype="|u1"):
    stream = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"x_train": header((10**15, 5, 5)) + bytes(100)},
        {"x_test": header((10**6, 10**6)) + bytes(100)},
        {"y_train": header((2**62,), "<i8") + bytes(32)},
        {"class_names": header((2,), "<U1000000000") + bytes(8)},
        {"class_names": header((0,), "|O")},
    ],
)
def test_headers_that_promise_more_than_the_file_holds(folder, changes):
    write_members(folder / "mine.npz", **changes)
    with pytest.raises(LecoreError, match=r"mine\.npz: is damaged or no image set"):
        load("mine")


def test_a_bomb_is_refused_before_it_unpacks(folder):
    size = 3 * 2**26
    write_members(folder / "mine.npz", x_train=header((size // 64, 8, 8)) + bytes(size))
    with zipfile.ZipFile(folder / "mine.npz") as archive:
        assert archive.getinfo("x_train.npy").compress_size < size / 500
    with pytest.raises(LecoreError, match="far more than images do"):
        load("mine")


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../mine", "a/b", "a\\b", "", ".", "..", ".hidden", "<b>", "a b", 3],
)
def test_a_data_name_is_a_plain_word(folder, name):
    for look in (load, images.fingerprint, images.fetch, images.verify):
        with pytest.raises(LecoreError, match="no name of a data set"):
            look(name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_refused_or_read_as_it_was(folder, save):
    path = folder / "mine.npz"
    truth = own_images(x_train=RNG.integers(0, 256, (4, 5, 5), dtype=np.uint8))
    save(path, **truth)
    whole = path.read_bytes()
    places = range(0, len(whole), 5)
    flipped = (whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in places)
    truncated = (whole[:i] for i in places[::20])
    refusals = []
    for data in (*flipped, *truncated):
        path.write_bytes(data)
        try:
            found = load("mine")
        except ValueError as error:
            refusals.append(str(error))
        else:  # a byte that no content depends on, such as the archive's date
            for key, array in truth.items():
                np.testing.assert_array_equal(getattr(found, key), array)
    assert len(refusals) > len(places) / 2
    assert all(str(path) in message and "\n" not in message for message in refusals)


def test_other_files_named_npz(folder):
    path = folder / "mine.npz"
    np.save(folder / "array.npy", np.zeros(3))
    (folder / "array.npy").rename(path)
    with pytest.raises(ValueError, match=r"mine\.npz: is damaged or no image set"):
        load("mine")
    with zipfile.ZipFile(path, "w") as archive:
        for key in own_images():
            archive.writestr(key, "text")
    with pytest.raises(ValueError, match=r"mine\.npz"):
        load("mine")


def test_unknown_set():
    for look in (load, images.fetch, images.fingerprint):
        with pytest.raises(FileNotFoundError, match="no data set 'nonsense'"):
            look("nonsense")


def test_fetch_without_a_network(folder, monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for name in MAKERS:
        with pytest.raises(ConnectionError, match=f"could not download {name}") as caught:
            images.fetch(name)
        assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def serve_svhn(folder, monkeypatch):
    """Let downloads take the small SVHN files made in ``folder``; the data folder is another."""
    make_svhn(folder, monkeypatch)
    empty = folder / "empty"
    monkeypatch.setenv("LECORE_DATA", str(empty))
    asked = []

    def download(url, root, filename, md5):
        asked.append(filename)
        Path(root, filename).write_bytes((folder / filename).read_bytes())

    monkeypatch.setattr(import_torchvision().datasets.svhn, "download_url", download)
    return empty, asked


def test_fetch_downloads_once_and_replaces_damaged_files(folder, monkeypatch):
    target, asked = serve_svhn(folder, monkeypatch)
    names = ["test_32x32.mat", "train_32x32.mat"]
    images.fetch("svhn")
    images.fetch("svhn")
    assert sorted(asked) == names
    (target / names[0]).write_bytes(b"damaged")
    images.fetch("svhn")
    assert sorted(p.name for p in target.iterdir()) == names
    assert len(load("svhn").x_test) == 4


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (urllib.error.URLError("reset"), ConnectionError),
        (http.client.IncompleteRead(b""), ConnectionError),
        (OSError(28, "No space left on device"), OSError),
    ],
)
def test_an_interrupted_download_leaves_nothing(folder, monkeypatch, failure, raised):
    target, _ = serve_svhn(folder, monkeypatch)

    def broken(url, root, filename, md5):
        Path(root, filename).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(import_torchvision().datasets.svhn, "download_url", broken)
    with pytest.raises(raised) as caught:
        images.fetch("svhn")
    assert type(caught.value) is raised
    assert list(target.iterdir()) == []


def test_a_fingerprint_needs_no_heavy_import(folder):
    code = (
        "import sys; from lecore.data.images import fingerprint; fingerprint('digits')\n"
        "try: fingerprint('cifar10')\n"
        "except FileNotFoundError: pass\n"
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_users_cache_is_the_default(monkeypatch):
    monkeypatch.delenv("LECORE_DATA")
    assert images.data_folder().name == "lecore"


def test_scaled():
    x = np.array([[[0, 255]]], np.uint8)
    assert scaled(x).tolist() == [[[[-1.0, 1.0]]]]
    assert scaled(x, normalized=False).tolist() == [[[[0.0, 1.0]]]]
    assert scaled(np.zeros((2, 4, 5, 3), np.uint8)).shape == (2, 3, 4, 5)


def test_first_channel_alone_as_torchvision_once_did():
    x = np.full((1, 1, 1, 3), 255, np.uint8)
    assert scaled(x, normalized="first channel").ravel().tolist() == [1.0, 1.0, 1.0]
    assert scaled(0 * x, normalized="first channel").ravel().tolist() == [-1.0, 0.0, 0.0]
    assert scaled(x[..., 0] * 0, normalized="first channel").ravel().tolist() == [-1.0]
    assert x.max() == 255, "the images are left as they were"
    with pytest.raises(ValueError, match="'red'"):
        scaled(x, normalized="red")


def numbered(labels):
    """An image set in which every image is its own index."""
    x = np.arange(len(labels), dtype=np.uint8)[:, None, None]
    return Images("numbered", x, np.asarray(labels), x[:0], np.zeros(0, int), tuple("abcd"))


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=60), size=st.integers(1, 8))
@settings(max_examples=examples(60), deadline=None)
def test_he_su_sample_against_the_obvious_loop(labels, size):
    if not {0, 1, 2} <= set(labels):
        with pytest.raises(ValueError, match="no training images of class"):
            he_su_sample(numbered(labels), (0, 1), (2,), per_class=size)
        return
    one = [i for i, c in enumerate(labels) if c == 0][:size]
    two = [i for i, c in enumerate(labels) if c == 1][:size]
    rest = [i for i, c in enumerate(labels) if c in (2, 3)][: 2 * size]
    auxiliary = (2, 3) if 3 in labels else (2,)
    ordered = one + two + rest
    mixed = [None] * len(ordered)
    for old, new in enumerate(np.random.RandomState(666).permutation(len(ordered))):
        mixed[new] = ordered[old]
    sample = he_su_sample(
        numbered(labels), (0, 1), auxiliary, per_class=size, auxiliary_size=2 * size
    )
    assert sample.primary.ravel().tolist() == [i for i in mixed if i in one + two]
    assert sample.subclass.tolist() == [int(i in two) for i in mixed if i in one + two]
    assert sample.auxiliary.ravel().tolist() == [i for i in mixed if i in rest]


def test_random_samples_are_seeded_subsets():
    numbers = numbered([0, 1, 2] * 20)
    a, b, c = (
        he_su_sample(numbers, (0, 1), (2,), per_class=5, auxiliary_size=5, seed=s)
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(a.primary, b.primary)
    assert not np.array_equal(a.primary, c.primary)
    assert (a.primary.ravel() % 3 == a.subclass).all()
    assert len(np.unique(a.primary)) == 10


def test_classes_must_differ():
    with pytest.raises(ValueError, match="two primary and other auxiliary"):
        he_su_sample(numbered([0, 1, 2]), (0, 1), (1,))
    with pytest.raises(ValueError, match="sizes must be positive"):
        he_su_sample(numbered([0, 1, 2]), (0, 1), (2,), per_class=-1)


def test_lecore_needs_neither_torchvision_nor_papermill():
    code = (
        "import sys, lecore; "
        "assert not {'torchvision', 'papermill', 'click', 'sphinx'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_torchvision_is_imported_once():
    first = import_torchvision()
    first.models.resnet18(num_classes=2)
    assert import_torchvision() is first


def test_other_import_errors_of_torchvision_are_not_hidden():
    code = (
        "import sys, importlib.abc\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torchvision': raise RuntimeError('something else')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from lecore.data.torchvision_import import import_torchvision\n"
        "try: import_torchvision()\n"
        "except RuntimeError as e: assert str(e) == 'something else'\n"
        "else: raise SystemExit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pairs_are_called_by_the_classes_of_the_images():
    labels = pair_labels(CIFAR10_PAIRS, load("digits"))
    assert (labels["car v cat"], labels["deer v frog"]) == ("1 v 3", "4 v 6")
    few = pair_labels(CIFAR10_PAIRS, numbered([0, 1]))  # a, b, c and d
    assert few == {"car v cat": "b v d", "cat v bird": "c v d", "car v bird": "b v c"}

"""He & Su's cats and warplanes: what steps on a user's photographs move in ImageNet's networks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.data.images import data_folder
from lecore.data.photographs import folder_images
from lecore.data.pretrained import PRETRAINED, pretrained, without_weights
from lecore.errors import LecoreError
from lecore.studies.own.pretrained_measures import batch_divergences, divergences

Array = NDArray[np.float64]

CLASSES = {"tabby": 281, "tiger_cat": 282, "warplane": 895, "frog": 31}
"""Folders and the classes of ImageNet that a step takes for their images (31 is the tree frog)."""

BATCH = "tabby+warplane"
"""Update images of He & Su's mini-batches."""

TESTED = ("tiger_cat", "warplane", "frog")
"""Classes of test images of single steps."""


@dataclass(frozen=True, kw_only=True)
class PhotographRun:
    """One network and one size of step.

    Attributes:
        network: A key of :data:`lecore.data.pretrained.PRETRAINED`.
        folder: Folder of the folders :data:`CLASSES`, as in :func:`photographs`.
        photographs: From :func:`fingerprint_of` the folder.
        weights: ``ImageNet``, or ``random`` as a control.
        learning_rate: Of a step of gradient descent on the cross-entropy.
        updates: Tabby cats, one a step.
        controls: Warplanes and frogs, one a step.
        tests: Test images of a class.
        batches: Pairs of a tabby cat and a warplane, one a step on their mean loss.
        precision: ``float32`` or ``float64``.
        seed: Of random weights.
    """

    network: str
    folder: str
    photographs: str
    weights: str = "ImageNet"
    learning_rate: float = 1e-3
    updates: int = 50
    controls: int = 8
    tests: int = 25
    batches: int = 25
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("pretrained network", self.network, PRETRAINED)
        check_name("weights", self.weights, ("ImageNet", "random"))
        check_name("precision", self.precision, ("float32", "float64"))


def fingerprint_of(folder: str | Path) -> str:
    """SHA-256 of the files of :data:`CLASSES` in a folder, with their names."""
    digest, place = hashlib.sha256(), data_folder() / folder
    for file in sorted(f for name in CLASSES for f in (place / name).rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(place)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def photographs(folder: str | Path, *, most: int = 60) -> dict[str, Tensor]:
    """Images of the four folders that are named as :data:`CLASSES`.

    Args:
        folder: Their folder, in the data folder or with its whole path.
        most: Images of each class.

    Raises:
        LecoreError: If one of the folders is missing.
    """
    found = folder_images(data_folder() / folder, most=most)
    if missing := CLASSES.keys() - found.keys():
        what = f"no folder {' or '.join(sorted(missing))}"
        raise LecoreError(what, f"name the folders {', '.join(CLASSES)}", str(folder))
    return {name: found[name] for name in CLASSES}


def measure_photographs(run: PhotographRun, device: str, scratch: Path) -> dict[str, Array]:
    """What the steps of a run move, as :func:`moved_photographs`, and ``named right``, per cent.

    Args:
        run: The run.
        device: Where to compute.
        scratch: Unused.
    """
    images = {name: x.to(device) for name, x in photographs(run.folder).items()}
    network = pretrained(run.network).to(device)
    if run.weights == "random":
        seen = torch.cat([x[:8] for x in images.values()])
        network = without_weights(network, seen, seed=run.seed)
    tests = {name: x[: run.tests] for name, x in images.items()}
    moved = moved_photographs(
        network,
        {
            "tabby": images["tabby"][: run.updates],
            "warplane": images["warplane"][run.tests :][: run.controls],
            "frog": images["frog"][: run.controls],
        },
        {name: images[name][run.tests :][: run.batches] for name in ("tabby", "warplane")},
        tests,
        learning_rate=run.learning_rate,
        dtype=getattr(torch, run.precision),
    )
    return moved | {"named right": np.array(list(named_right(network, tests).values()))}


def named_right(network: nn.Module, images: Mapping[str, Tensor]) -> dict[str, float]:
    """Per cent of the photographs of each folder that a network calls as their folder does."""
    with torch.no_grad():
        calls = {name: network(x).argmax(dim=1) for name, x in images.items()}
    return {name: 100 * float((y == CLASSES[name]).float().mean()) for name, y in calls.items()}


def moved_photographs(
    network: nn.Module,
    updates: Mapping[str, Tensor],
    batches: Mapping[str, Tensor],
    tests: Mapping[str, Tensor],
    *,
    learning_rate: float,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Array]:
    """log₁₀ of KL(p⁺ ‖ p) in nats at test images, after and before a step on others.

    Args:
        network: For these images, in eval mode, with ImageNet's logits as outputs.
        updates: Images by class, one a step.
        batches: Images of two classes; the i-th of both are the i-th mini-batch.
        tests: Test images by class: of single steps :data:`TESTED`, and of mini-batches their
            two classes and ``frog``.
        learning_rate: Of a step of gradient descent on the cross-entropy.
        dtype: Precision of the step.

    Returns:
        Shape (updates, tests), by ``<class of the update> at <class of the test>``; frogs at
        frogs are left out, as there are few. The update is :data:`BATCH` for mini-batches.
    """
    rows = [_labelled(name, x) for name, x in updates.items()]
    at = {name: tests[name] for name in TESTED}
    moved = divergences(
        network,
        (torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])),
        torch.cat(list(at.values())),
        learning_rate=learning_rate,
        dtype=dtype,
    )
    found = _blocks(moved, updates, at)
    del found["frog at frog"]
    pairs = [_labelled(name, x) for name, x in batches.items()]
    at = {name: tests[name] for name in (*batches, "frog")}
    moved = batch_divergences(
        network, pairs[0], pairs[1], torch.cat(list(at.values())),
        learning_rate=learning_rate, dtype=dtype,
    )  # fmt: skip
    return found | _blocks(moved, {BATCH: moved}, at)


def _labelled(name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    return images, torch.full((len(images),), CLASSES[name], device=images.device)


def _blocks(
    moved: Array, rows: Mapping[str, Tensor | Array], columns: Mapping[str, Tensor]
) -> dict[str, Array]:
    """Logarithms of a matrix, cut at the ends of the classes."""
    logarithms = np.log10(np.maximum(moved, 1e-300))
    row_ends, column_ends = (
        np.cumsum([len(x) for x in sets.values()])[:-1] for sets in (rows, columns)
    )
    return {
        f"{row} at {column}": block
        for row, part in zip(rows, np.split(logarithms, row_ends), strict=True)
        for column, block in zip(columns, np.split(part, column_ends, axis=1), strict=True)
    }

"""A user's own photographs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError

BICUBIC = 3
"""Pillow's number of this way to resize."""

SHARE = 7 / 8
"""Side of the square in the middle that is kept, of the shorter side, as ImageNet is tested."""


def folder_images(path: str | Path, *, most: int = 50, size: int = 300) -> dict[str, Tensor]:
    """A user's own photographs, one folder a class, as images in [−1, 1].

    Args:
        path: Folder of the class folders.
        most: Images of each class, in the order of their names.
        size: Height and width to which the middle of each is resized, bicubic.

    Returns:
        By class, shape (images, 3, size, size).

    Raises:
        LecoreError: If there is no class folder with an image.
    """
    torchvision = import_torchvision()
    try:
        found = torchvision.datasets.ImageFolder(str(path))
    except OSError as error:
        raise LecoreError(f"{path} must hold a folder of images for each class: {error}") from error
    paths: dict[str, list[str]] = {name: [] for name in found.classes}
    for file, label in found.samples:
        paths[found.classes[label]].append(file)
    return {
        name: torch.stack([_middle(found.loader(file), size) for file in files[:most]])
        for name, files in paths.items()
    }


def _middle(photograph: Any, size: int) -> Tensor:
    """The square in the middle of a photograph, shape (3, size, size)."""
    width, height = photograph.size
    side = SHARE * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = photograph.resize((size, size), BICUBIC, box=(left, top, left + side, top + side))
    pixels: Tensor = import_torchvision().transforms.functional.pil_to_tensor(square)
    return pixels / 127.5 - 1

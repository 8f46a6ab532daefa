"""Photographs as networks trained on ImageNet take them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lecore.data.torchvision_import import import_torchvision


def imagenet_inputs(images: Tensor) -> Tensor:
    """Images in [−1, 1] as ImageNet networks want them: three channels, 224 × 224, standardised."""
    x = F.interpolate((images + 1) / 2, size=(224, 224), mode="bilinear", align_corners=False)
    x = x.expand(-1, 3, -1, -1)
    mean = x.new_tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = x.new_tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    return (x - mean) / deviation


def folder_images(path: str | Path, *, most: int = 50) -> dict[str, Tensor]:
    """A user's own photographs, one folder a class, as :func:`imagenet_inputs`.

    Args:
        path: Folder of the class folders.
        most: Images of each class, in the order of their names.

    Returns:
        By class, shape (images, 3, 224, 224).

    Raises:
        ValueError: If there is no class folder with an image.
    """
    torchvision = import_torchvision()
    try:
        found = torchvision.datasets.ImageFolder(str(path))
    except OSError as error:
        raise ValueError(f"{path} must hold a folder of images for each class: {error}") from error
    to_tensor = torchvision.transforms.functional.pil_to_tensor
    images: dict[str, list[Tensor]] = {name: [] for name in found.classes}
    for photograph, label in found:
        chosen = images[found.classes[label]]
        if len(chosen) < most:
            chosen.append(imagenet_inputs(to_tensor(photograph)[None] / 127.5 - 1)[0])
    return {name: torch.stack(chosen) for name, chosen in images.items()}

"""Small pictures of examples, to stand inside a page."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.errors import LecoreError, extra

SIDE = 56
"""Pixels that the shorter side of a picture has at least."""


def as_images(given: Any, count: int) -> NDArray[np.uint8]:
    """Images of any usual form as bytes.

    Args:
        given: Shape (n, H, W), (n, C, H, W) or (n, H, W, C), with one or three channels, of bytes
            or of numbers, which are stretched from the smallest to the largest of each channel.
        count: How many there should be.

    Returns:
        Shape (n, H, W) or (n, H, W, 3).

    Raises:
        LecoreError: If there are others, or more or fewer.
    """
    images = torch.as_tensor(np.asarray(given) if not isinstance(given, Tensor) else given).cpu()
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.permute(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise LecoreError(
            f"thumbnails of shape {tuple(images.shape)} are no images",
            "give shape (n, H, W), (n, C, H, W) or (n, H, W, C), with one or three channels",
        )
    if len(images) != count:
        raise LecoreError(
            f"there are {len(images)} thumbnails for {count} examples", "give one each"
        )
    if images.dtype == torch.uint8:
        return images.numpy()
    numbers = images.double()
    axes = tuple(range(3))
    low, high = numbers.amin(axes), numbers.amax(axes)
    scaled = (numbers - low) / (high - low).clamp_min(1e-12)
    return (255 * scaled).round().to(torch.uint8).numpy()


def data_uri(image: NDArray[np.uint8]) -> str:
    """A PNG as the address of a picture, its pixels enlarged to be seen."""
    with extra("report"):
        from PIL import Image

    picture = Image.fromarray(image)
    times = -(-SIDE // min(picture.size))
    if times > 1:
        picture = picture.resize(
            (picture.width * times, picture.height * times), Image.Resampling.NEAREST
        )
    elif min(picture.size) > 2 * SIDE:
        picture.thumbnail((2 * SIDE, 2 * SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def shown_texts(given: Sequence[str], count: int) -> Sequence[str]:
    """Texts of examples, as many as there are.

    Raises:
        LecoreError: If there are more or fewer.
    """
    if len(given) != count:
        raise LecoreError(f"there are {len(given)} texts for {count} examples", "give one each")
    return given

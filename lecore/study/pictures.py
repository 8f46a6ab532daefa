"""Small pictures of examples, to stand inside a page."""

import base64
import io
from collections.abc import Mapping, Set
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.arguments.finite import all_finite
from lecore.errors import LecoreError, extra, in_short

SIDE = 56
"""Pixels that the shorter side of a picture has at least."""

AT_ONCE = 256
"""Pictures whose numbers are scaled together."""

LONGEST = 4 * SIDE
"""Pixels that the longer side of a narrow one has at most, which is drawn together to that."""


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
    try:
        images = torch.as_tensor(given if isinstance(given, Tensor) else np.array(given)).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise LecoreError(
            f"thumbnails are no numbers ({in_short(error)})", "give an array or a tensor"
        ) from error
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.permute(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if not shaped or images.is_complex() or 0 in images.shape[1:]:
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
    if not all_finite(images):
        raise LecoreError("thumbnails have numbers that are not finite", "repair them")
    parts, axes = images.split(AT_ONCE), tuple(range(3))  # all of them as doubles may not fit
    low = torch.stack([part.double().amin(axes) for part in parts]).amin(0)
    high = torch.stack([part.double().amax(axes) for part in parts]).amax(0)
    scale = 255 / (high - low).clamp_min(1e-12)
    scaled = [((part.double() - low) * scale).round().to(torch.uint8) for part in parts]
    return torch.cat(scaled).numpy()


def data_uri(image: NDArray[np.uint8]) -> str:
    """A PNG as the address of a picture, its pixels enlarged to be seen."""
    with extra("report"):
        from PIL import Image

    picture = Image.fromarray(image)
    times = -(-SIDE // min(picture.size))
    if min(picture.size) > 2 * SIDE:
        picture.thumbnail((2 * SIDE, 2 * SIDE))
    else:
        width, height = (min(times * side, LONGEST) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def shown_texts(given: Any, count: int) -> list[str]:
    """Texts of examples, as many as there are.

    Raises:
        LecoreError: If there are more or fewer.
    """
    texts = in_a_row("texts", given)
    if len(texts) != count:
        raise LecoreError(f"there are {len(texts)} texts for {count} examples", "give one each")
    return texts


def in_a_row(what: str, given: Any) -> list[str]:
    """Words that have an order.

    Args:
        what: They are, for the message.
        given: A list, say.

    Raises:
        LecoreError: If it is a word itself, or has no order.
    """
    with suppress(TypeError):  # what has no order, or is a single number
        if not isinstance(given, str | bytes | Mapping | Set):
            return [str(word) for word in given]
    raise LecoreError(f"{what} are of type {type(given).__name__}", "give a list in order")


def both(what: str, given: Any) -> tuple[Any, Any]:
    """What was given of the training and of the test examples, ``None`` where nothing was.

    Raises:
        LecoreError: If that is no pair.
    """
    if given is None:
        return None, None
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise LecoreError(
            f"{what} are no pair", f"give {what}=(those of training, those of test examples)"
        )
    return given[0], given[1]

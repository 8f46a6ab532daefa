"""Influence between images, of torchvision's ViT-B/16 with random weights and ten classes."""

import functools
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.bars import Measured, Settings, bar
from benchmarks.influence import by_func, compared
from benchmarks.structured import Floor
from lecore import loss_kernel
from lecore.data.torchvision_import import import_torchvision
from lecore.losses import cross_entropy

IMAGES, OTHERS = 12, 8

Side = tuple[Tensor, Tensor]


@functools.cache
def problem(device: torch.device) -> tuple[nn.Module, Side, Side]:
    """The network in eval mode, and two sets of random images with their classes."""
    torch.manual_seed(0)
    network = import_torchvision().models.vit_b_16(num_classes=10).eval()
    sides = [
        (torch.randn(n, 3, 224, 224, device=device), torch.arange(n, device=device) % 10)
        for n in (IMAGES, OTHERS)
    ]
    return network.to(device), sides[0], sides[1]


@bar("vit-floor", at_most=2, against="one forward and backward pass, and the products")
def vit_floor(settings: Settings) -> Measured:
    """products of loss gradients of 12 images with 8 others, ViT-B/16"""
    network, rows, columns = problem(settings.device)
    floor = Floor(network, rows[0], columns[0])
    return floor.measured(settings, partial(_ours, network, rows, columns))


@bar("vit-peer", at_least=1, against="torch.func")
def vit_peer(settings: Settings) -> Measured:
    """the same"""
    network, rows, columns = problem(settings.device)
    func = partial(by_func, network, cross_entropy, rows, columns, 4)
    return compared(settings, partial(_ours, network, rows, columns), {"torch.func": lambda: func})


def _ours(network: nn.Module, rows: Side, columns: Side) -> Tensor:
    found = loss_kernel(network, *rows, *columns, loss=cross_entropy, dtype=torch.float32)
    return torch.as_tensor(found)

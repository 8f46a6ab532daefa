"""Which networks are plain chains of dense layers."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lecore.identity.patches import patches

ACTIVATIONS = (
    nn.ReLU, nn.Identity, nn.Sigmoid, nn.Tanh, nn.GELU, nn.Softplus, nn.SiLU, nn.ELU, nn.LeakyReLU,
)  # fmt: skip


class Dense(NamedTuple):
    """σ(W h + b).

    Attributes:
        weight: W, shape (outputs, inputs).
        bias: b, shape (outputs,), or ``None``.
        activation: σ, or ``None``.
        trains: Whether W and b are trained.
    """

    weight: Tensor
    bias: Tensor | None
    activation: nn.Module | None
    trains: tuple[bool, bool]

    def values(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Values before and after the activation, shape (n, outputs) each."""
        z = torch.nn.functional.linear(h, self.weight, self.bias)
        return z, z if self.activation is None else self.activation(z)


def chain(model: nn.Module) -> list[nn.Module] | None:
    """The linear layers and activations of a plain chain of these, or ``None`` if it is none.

    A layer that was patched, hooked or made to run in another way is not plain, and none is where
    somebody has put something in the place of a function of torch.
    """
    modules = list(model) if type(model) is nn.Sequential else []
    if modules and type(modules[0]) is nn.Flatten:
        if (modules[0].start_dim, modules[0].end_dim) != (1, -1):
            return None
        modules = modules[1:]
    everywhere = nn.modules.module
    if everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks or not modules:
        return None
    for module in model.modules():
        if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
            return None
    activated = True
    for module in modules:
        if type(module) is nn.Linear:
            activated = False
        elif type(module) in ACTIVATIONS and not activated:
            activated = True
        else:
            return None
    return None if patches() else modules


def dense_form(model: nn.Module) -> list[Dense] | None:
    """The network as a chain of dense layers, or ``None`` if it is none."""
    layers: list[Dense] = []
    taken: set[int] = set()
    for module in chain(model) or ():
        if isinstance(module, nn.Linear):
            parameters = [p for p in (module.weight, module.bias) if p is not None]
            if taken & set(map(id, parameters)):
                return None  # shared with another layer
            taken |= set(map(id, parameters))
            weight, bias = module.weight, module.bias
            trains = weight.requires_grad, bias is not None and bias.requires_grad
            free = None if bias is None else bias.detach()
            layers.append(Dense(weight.detach(), free, None, trains))
        else:
            if getattr(module, "inplace", False):
                module = copy.copy(module)
                module.inplace = False  # type: ignore[assignment]  # the values before it are needed
            layers[-1] = layers[-1]._replace(activation=module)
    return layers or None

"""SGD of networks with one hidden layer and one output, written out and in place.

With z the hidden values of a batch and g the gradient of its loss by the predictions, a step is
W ← W − η (g a ⊙ σ′(z))ᵀ x and a ← a − η σ(z)ᵀ g: two matrix products that no gradient is stored
for. A ReLU unit that is silent on every training example has no gradient on any of them, so it
stays as it is for good, and is left out of all later steps.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import vjp

from lecore.engine.network.graphs import leaves_behind
from lecore.engine.network.model_checks import check_gradient_hooks
from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.one_example import batch_loss
from lecore.engine.routes.chains import chain, dense_form
from lecore.engine.routes.two_layer import two_layer_form
from lecore.engine.training_steps import Steps
from lecore.errors import LecoreError
from lecore.losses import Loss

BLOCK = 2048
"""Hidden units at a time, so that their values stay in a CPU's cache from pass to pass."""


class TwoLayerSGD(Steps):
    """Steps of plain SGD on a two-layer network, for :func:`lecore.training.train`.

    Args:
        model: The network.
        hidden: First layer.
        activation: σ.
        output: Second layer, of one output.
        tail: What follows it, such as a sigmoid.
        inputs: Training examples, shape (n, d).
        targets: Their targets, as the loss wants them.
        learning_rate: η.
        loss: Loss of one prediction.
    """

    def __init__(
        self,
        model: nn.Module,
        hidden: nn.Linear,
        activation: nn.Module,
        output: nn.Linear,
        tail: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        learning_rate: float,
        loss: Loss,
    ) -> None:
        self.model = model
        self.inputs, self.targets, self.learning_rate = inputs, targets, learning_rate
        self.activation, self.tail, self.loss = activation, tail, batch_loss(loss)
        self.stored = (hidden.weight.data, hidden.bias.data, output.weight.data[0])
        self.weight, self.bias, self.readout = self.stored
        self.offset = output.bias.data
        self.awake: Tensor | None = None
        self.space = inputs.new_empty(0)

    @torch.no_grad()
    def evaluate(self, rows: Tensor) -> float:
        """Mean loss of a batch; what :meth:`apply` needs is kept."""
        self.x = self.inputs[rows]
        self.values, self.slopes = self._spaces()
        prediction = self.offset.repeat(len(self.x))
        for units in _blocks(self.weight):
            self._activate(units)
            prediction.addmv_(self.values[units].T, self.readout[units])
        prediction = prediction[:, None]
        with torch.enable_grad():
            mean_loss = self.loss(self.tail(prediction.requires_grad_()), self.targets[rows])
            if leaves_behind(mean_loss).keys() != {id(prediction)}:
                raise LecoreError(
                    "the loss has a gradient with respect to more than the predictions",
                    "let it use no trainable tensor, or train with weight_decay",
                )
            (gradient,) = torch.autograd.grad(mean_loss, prediction)
        self.gradient = gradient[:, 0]
        return mean_loss.item()

    def _spaces(self) -> Tensor:
        """Room for σ(z) and a σ′(z), shape (2, units, n); new pages cost more than products."""
        shape = (2, len(self.weight), len(self.x))
        if self.space.numel() < math.prod(shape):
            self.space = self.weight.new_empty(math.prod(shape))
        return self.space[: math.prod(shape)].view(shape)

    def _activate(self, units: slice) -> None:
        z = self._hidden(self.x, units, self.slopes[units])
        readout = self.readout[units, None]
        if type(self.activation) is nn.ReLU:
            torch.clamp_min(z, 0, out=self.values[units])
            torch.gt(z, 0, out=z).mul_(readout)
        else:
            value, pull = vjp(self.activation, z)[:2]
            self.values[units] = value
            z.copy_(pull(readout.expand_as(value))[0])

    def _hidden(self, x: Tensor, units: slice, out: Tensor | None = None) -> Tensor:
        """Hidden values z, shape (units, n)."""
        return torch.addmm(self.bias[units, None], self.weight[units], x.T, out=out)

    @torch.no_grad()
    def apply(self) -> None:
        """Take the step of the last batch."""
        step = -self.learning_rate * self.gradient
        for units in _blocks(self.weight):
            slope = self.slopes[units].mul_(step)
            self.readout[units].addmv_(self.values[units], step)
            self.weight[units].addmm_(slope, self.x)
            self.bias[units].add_(slope.sum(dim=1))
        self.offset.add_(step.sum())

    def end_epoch(self, epoch: int) -> None:
        """Look for silent units after 1, 2, 4, 8 … epochs."""
        if epoch & (epoch - 1) == 0:
            self.leave_out_silent_units()

    @torch.no_grad()
    def leave_out_silent_units(self) -> None:
        """Go on without the ReLU units that no training example activates."""
        if type(self.activation) is not nn.ReLU:
            return
        active = self.weight.new_zeros(len(self.weight), dtype=torch.bool)
        for x in self.inputs.split(1000):
            for units in _blocks(self.weight):
                active[units] |= (self._hidden(x, units) > 0).any(dim=1)
        if active.sum() > 0.9 * len(active):
            return
        self.write_back()
        before = torch.arange(len(active), device=active.device)
        self.awake = (before if self.awake is None else self.awake)[active]
        self.weight, self.bias, self.readout = (
            part[active] for part in (self.weight, self.bias, self.readout)
        )

    @torch.no_grad()
    def write_back(self) -> None:
        """Put the weights back into the network."""
        if self.awake is not None:
            for whole, part in zip(
                self.stored, (self.weight, self.bias, self.readout), strict=True
            ):
                whole[self.awake] = part

    def fingerprint(self) -> object:
        """Whether the network is a plain chain, and where its weights are.

        With silent units left out a checksum of all, as the others are held beside it.
        """
        parameters = list(self.model.parameters())
        bits = [] if self.awake is None else [_checksum(p) for p in parameters]
        return _is_plain(self.model), [p.data_ptr() for p in parameters], bits


def two_layer_sgd(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, learning_rate: float, loss: Loss
) -> TwoLayerSGD | None:
    """The steps of a model with one hidden layer and one output, or ``None`` if it is none.

    A loss of more than the predictions, such as a penalty on weights, has no such steps.
    """
    layers = dense_form(model) if _is_plain(model) else None
    if layers is None:
        return None
    linear = [m for m in model.modules() if type(m) is nn.Linear]
    tail = layers[-1].activation or nn.Identity()
    layers[-1] = layers[-1]._replace(activation=None)
    network = two_layer_form(layers)
    if network is None or network.hidden_bias is None or network.output_bias is None:
        return None
    steps = TwoLayerSGD(
        model, linear[0], network.activation, linear[1], tail, inputs.flatten(1), targets,
        learning_rate=learning_rate, loss=loss,
    )  # fmt: skip
    try:
        with generators_left_alone():
            steps.evaluate(torch.zeros(1, dtype=torch.long, device=inputs.device))
    except Exception:  # autograd tells what is wrong, if anything is
        return None
    return steps


def _blocks(weight: Tensor) -> Iterator[slice]:
    width = len(weight)
    block = BLOCK if weight.device.type == "cpu" else max(1, width)  # few launches on a GPU
    return (slice(start, start + block) for start in range(0, width, block))


def _is_plain(model: nn.Module) -> bool:
    """Whether all parameters train, and nothing looks at their gradients or changes them."""
    try:
        check_gradient_hooks(model, dict(model.named_parameters()))
    except LecoreError:
        return False
    return chain(model) is not None and all(p.requires_grad for p in model.parameters())


def _checksum(parameter: Tensor) -> int:
    """Of its bits and of the places of its rows."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()]
    rows = parameter.detach().view(whole).reshape(len(parameter), -1).sum(dim=1)
    return int((rows * torch.arange(1, len(rows) + 1, device=rows.device)).sum())

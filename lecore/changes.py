"""How one SGD step on one point changes the prediction at every other point.

Everywhere ``change[i, j, c]`` is the change of output ``c`` at test point ``j`` after one step on
update point ``i``: rows are update points.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from lecore.losses import Loss, squared_error

Parameters = dict[str, Tensor]

CHUNK_BYTES = 2**28
"""Memory that the updated weights of one chunk of update points may take."""


def prediction_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float,
    loss: Loss = squared_error,
    dtype: torch.dtype = torch.float64,
    chunk_size: int | None = None,
) -> Tensor:
    """Change of all predictions after one SGD step on one point, for every update point.

    He & Su (2020), equation (1): w⁺ = w − η ∂L(f(x_i, w), y_i)/∂w, and
    Δ[i, j, c] = f_c(x_j, w⁺) − f_c(x_j, w). Every step starts from the same weights. Parameters
    with ``requires_grad=False`` stay fixed. The model itself is not changed.

    Args:
        model: Any module that maps (n, …) to (n, outputs), in eval mode if it has dropout or
            normalisation layers.
        inputs: Update points x_i, shape (n, …).
        targets: Their targets y_i, shape (n,) or (n, outputs), as the loss wants them.
        test_inputs: Test points x_j, shape (m, …); the update points if left out.
        learning_rate: η > 0.
        loss: Loss of one prediction, see :mod:`lecore.losses`.
        dtype: Precision of the calculation. The difference of two predictions loses digits, so
            leave it at float64 unless the change is large beside the prediction.
        chunk_size: Update points at a time; by default as many as fit ``CHUNK_BYTES``.

    Returns:
        Δ, shape (n, m, outputs), on the model's device.

    Raises:
        ValueError: If the shapes do not fit, the learning rate is not positive, the model has
            nothing to train, or it is in training mode with layers that behave differently there.
    """
    parameters, buffers, inputs, test_inputs = _prepare(
        model, inputs, targets, test_inputs, learning_rate, dtype
    )
    before = functional_call(model, (parameters, buffers), (test_inputs,))

    def after_one_step(x: Tensor, y: Tensor) -> Tensor:
        gradient = _loss_gradient(model, loss, parameters, buffers, x, y)
        stepped = {k: w - learning_rate * gradient[k] for k, w in parameters.items()}
        return functional_call(model, (stepped, buffers), (test_inputs,)) - before

    return _by_chunks(after_one_step, inputs, targets, parameters, chunk_size)


def linearized_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float,
    loss: Loss = squared_error,
    dtype: torch.dtype = torch.float64,
    chunk_size: int | None = None,
) -> Tensor:
    """First-order part of :func:`prediction_change`, with the same arguments and result.

    Δ[i, j, c] ≈ −η ⟨∂f_c(x_j)/∂w, ∂L(f(x_i), y_i)/∂w⟩ (the expansion below He & Su's equation
    (3)), as one Jacobian-vector product for each update point. It has no rounding floor: the
    step is never taken, so η only scales the result.
    """
    parameters, buffers, inputs, test_inputs = _prepare(
        model, inputs, targets, test_inputs, learning_rate, dtype
    )

    def derivative_along_gradient(x: Tensor, y: Tensor) -> Tensor:
        gradient = _loss_gradient(model, loss, parameters, buffers, x, y)

        def predict(weights: Parameters) -> Tensor:
            prediction: Tensor = functional_call(model, (weights, buffers), (test_inputs,))
            return prediction

        tangent: Tensor = jvp(predict, (parameters,), (gradient,))[1]
        return -learning_rate * tangent

    return _by_chunks(derivative_along_gradient, inputs, targets, parameters, chunk_size)


def output_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = squared_error,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """∂L(f, y)/∂f at each point, shape (n, outputs): the denominator of He & Su's equation (3)."""
    parameters, buffers, inputs, _ = _prepare(model, inputs, targets, None, 1.0, dtype)
    prediction = functional_call(model, (parameters, buffers), (inputs,))
    gradient: Tensor = vmap(grad(loss))(prediction, targets.to(inputs.device))
    return gradient


def trainable_parameters(model: nn.Module, dtype: torch.dtype) -> tuple[Parameters, Parameters]:
    """Split a model's tensors into those that a step changes and those that stay, cast to dtype.

    Raises:
        ValueError: If nothing is trainable, or a layer in training mode would mix up examples
            or draw random numbers.
    """
    for name, module in model.named_modules():
        if module.training and isinstance(
            module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd
        ):
            raise ValueError(f"layer {name!r} is in training mode; call model.eval() first")
    named = {k: p.detach().to(dtype) for k, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError("the model has no parameter with requires_grad=True")
    fixed = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}
    fixed |= dict(model.named_buffers())
    return named, {k: t.to(dtype) if t.is_floating_point() else t for k, t in fixed.items()}


def chunks(size: int, parameters: Parameters, chunk_size: int | None) -> Iterator[slice]:
    """Slices of ``range(size)``, so many that one copy of the weights a point fits in memory."""
    if chunk_size is None:
        weight_bytes = sum(w.numel() * w.element_size() for w in parameters.values())
        chunk_size = max(1, CHUNK_BYTES // weight_bytes)
    elif chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or larger, not {chunk_size}")
    return (slice(start, start + chunk_size) for start in range(0, size, chunk_size))


def _prepare(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None,
    learning_rate: float,
    dtype: torch.dtype,
) -> tuple[Parameters, Parameters, Tensor, Tensor]:
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"need as many targets as update points, got {len(targets)} and {len(inputs)}"
        )
    parameters, buffers = trainable_parameters(model, dtype)
    device = next(iter(parameters.values())).device
    test_inputs = inputs if test_inputs is None else test_inputs
    return parameters, buffers, inputs.to(device, dtype), test_inputs.to(device, dtype)


def _loss_gradient(
    model: nn.Module, loss: Loss, parameters: Parameters, buffers: Parameters, x: Tensor, y: Tensor
) -> Parameters:
    def loss_of(weights: Parameters) -> Tensor:
        return loss(functional_call(model, (weights, buffers), (x[None],))[0], y)

    gradient: Parameters = grad(loss_of)(parameters)
    return gradient


def _by_chunks(  # type: ignore[no-untyped-def]
    one_row, inputs: Tensor, targets: Tensor, parameters: Parameters, chunk_size: int | None
) -> Tensor:
    targets = targets.to(inputs.device)
    if targets.is_floating_point():
        targets = targets.to(inputs.dtype)
    with torch.no_grad():
        return torch.cat(
            [
                vmap(one_row)(inputs[rows], targets[rows])
                for rows in chunks(len(inputs), parameters, chunk_size)
            ]
        )

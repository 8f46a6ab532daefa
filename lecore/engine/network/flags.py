"""Settings of the whole process that a calculation needs, and that are put back after it.

Threads that compute at once share them: the first one to enter sets them, the last one to leave
puts them back as the first one found them, also after an exception.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, Literal

import torch
from torch import nn

from lecore.errors import LecoreError

Products = Literal["ieee", "tf32", "bf16"]
"""Products of float32 numbers, in full or from leading bits, 10 (on CUDA) or 7 (on CPUs)."""

_backends: Any = torch.backends
_PRECISIONS: tuple[Any, ...] = (  # from the general to the special, which overrules
    _backends,
    _backends.cudnn,
    _backends.cuda.matmul,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn.matmul,
    _backends.mkldnn.conv,
    _backends.mkldnn.rnn,
)
_SHORTENED: dict[str, tuple[Any, ...]] = {
    "ieee": (),
    "tf32": (_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn),
    "bf16": (_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn),
}
_FUSED: tuple[tuple[Callable[[], bool], Callable[[bool], Any], bool], ...] = (
    # fused kernels of attention have neither batching rules nor forward derivatives
    (_backends.mha.get_fastpath_enabled, _backends.mha.set_fastpath_enabled, False),
    (_backends.cuda.flash_sdp_enabled, _backends.cuda.enable_flash_sdp, False),
    (_backends.cuda.mem_efficient_sdp_enabled, _backends.cuda.enable_mem_efficient_sdp, False),
    (_backends.cuda.cudnn_sdp_enabled, _backends.cuda.enable_cudnn_sdp, False),
    (_backends.cuda.math_sdp_enabled, _backends.cuda.enable_math_sdp, True),
)

_lock = Lock()
_inside = 0
_kind: Products = "ieee"
_undo: list[tuple[Callable[[Any], Any], Any]] = []
_found: list[str] = []
_fused: list[bool] = []


@contextmanager
def fixed_flags(
    products: Products = "ieee", device: str = "cpu", network: nn.Module | None = None
) -> Iterator[None]:
    """Compute as asked for, whatever the process is set to, and put its settings back.

    Float32 matrix products and convolutions may otherwise keep 10 of 23 bits on CUDA (TF32; for
    convolutions that is torch's default), and after
    ``torch.set_float32_matmul_precision("medium")`` a CPU may keep 7. Fused attention is off, and
    so are, for this thread, autocast and inference mode. torch's older switch
    ``torch.backends.cudnn.allow_tf32`` cannot be read inside.

    Args:
        products: ``ieee`` for full products, or ``tf32`` or ``bf16``.
        device: Kind of device whose autocast is switched off.
        network: What is going to run; cuDNN is off for one with recurrent layers on CUDA, as its
            own have gradients in training mode only.

    Raises:
        LecoreError: If another thread is inside with other products.
    """
    recurrent = network is not None and any(isinstance(m, nn.RNNBase) for m in network.modules())
    _enter(products, without_cudnn=recurrent and device == "cuda")
    try:
        with torch.inference_mode(False), torch.autocast(device, enabled=False):
            yield
    finally:
        _leave()


def _enter(products: Products, without_cudnn: bool) -> None:
    global _inside, _kind
    with _lock:
        if _inside and products != _kind:
            raise LecoreError(
                f"a calculation with {_kind} products runs in this process", "wait for its end"
            )
        if not _inside:
            _found[:] = [setting.fp32_precision for setting in _PRECISIONS]
            _fused[:] = [read() for read, _, _ in _FUSED]
        _inside, _kind = _inside + 1, products
        for setting in _PRECISIONS:
            # one that follows a more general setting reads "ieee" by now, and stays as it is
            wanted = products if setting in _SHORTENED[products] else "ieee"
            if setting.fp32_precision != wanted:
                undo = partial(setattr, setting, "fp32_precision")
                _undo.append((undo, setting.fp32_precision))
                setting.fp32_precision = wanted
        for read, write, value in _FUSED:
            if read() != value:
                write(value)
        if without_cudnn and _backends.cudnn.enabled:
            _undo.append((partial(setattr, _backends.cudnn, "enabled"), True))
            _backends.cudnn.enabled = False


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        while _inside == 0 and _undo:
            write, value = _undo.pop()
            write(value)
        if _inside == 0:  # compilers write down, for themselves, what they read in between
            for setting, value in zip(_PRECISIONS, _found, strict=True):
                if setting.fp32_precision != value:
                    setting.fp32_precision = value
            # networks choose their attention for a while, and threads not one after the other
            for (read, write, _), on in zip(_FUSED, _fused, strict=True):
                if read() != on:
                    write(on)


Precision = torch.dtype | Literal["tf32", "bf16"]
"""What a calculation runs in; ``tf32`` and ``bf16`` are float32 with shorter products."""


PRODUCT_DTYPES = {"tf32": torch.float16, "bf16": torch.bfloat16}
"""Types with as many leading bits."""

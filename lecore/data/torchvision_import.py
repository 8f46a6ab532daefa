"""Importing torchvision, late and beside any build of torch."""

from typing import Any

from lecore.errors import extra


def import_torchvision() -> Any:
    """Import torchvision, beside a CPU build of torch too.

    torchvision's wheel on PyPI is linked against CUDA, so beside torch's CPU wheel its C library
    does not load and the import stops at a missing operator (pytorch #122494, #157648; vision
    #8985, #9077). Data sets and networks need none of these operators: declaring them is enough.
    """
    try:
        with extra("images"):
            import torchvision
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        import sys

        import torch

        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision._lecore_operators = library  # they live as long as this object
    import torchvision.datasets
    import torchvision.models
    import torchvision.transforms

    return torchvision

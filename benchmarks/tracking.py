"""What it costs to follow S_rel through a training run."""

import torch

from benchmarks.bars import Measured, Settings, bar, slowdown
from benchmarks.data import digits
from benchmarks.timing import interleaved
from lecore import models
from lecore.losses import cross_entropy
from lecore.tracking import Tracker, probe_similarity
from lecore.training import train

EVERY, BATCH, PROBES = 9, 256, 60
"""Dan et al. measure after every ninth batch of 256, seven times an epoch."""


@bar("tracking", at_most=0.25, unit="of training time", against="training alone")
def tracking(settings: Settings) -> Measured:
    """S_rel of 60 probes with all three classes, seven times an epoch of ResNet-18"""
    network = models.resnet18().to(settings.device)
    images = digits(EVERY * BATCH, 32, 3, settings.device)
    classes = torch.arange(len(images), device=settings.device) % 3
    probes = probe_similarity(images[:PROBES], classes[:PROBES], loss=cross_entropy)
    tracker = Tracker({"S_rel": probes}, every=1)

    def nine_steps() -> None:
        train(
            network, images, classes, learning_rate=1e-4, epochs=1, batch_size=BATCH,
            loss=cross_entropy, optimizer="adam",
        )  # fmt: skip

    times = interleaved(settings, measuring=lambda: tracker(0, network), training=nine_steps)
    return Measured(slowdown(times, "measuring", "training"), times)

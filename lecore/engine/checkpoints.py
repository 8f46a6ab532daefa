"""The file from which an interrupted training goes on."""

import os

import torch
from torch import nn

from lecore.arguments.settings import file_of
from lecore.errors import LecoreError
from lecore.files import whole_file
from lecore.identity.finished_work import Identity, refuse_another


class Checkpoint:
    """A file of weights, the optimiser's state and what happened so far.

    Args:
        path: The file, which need not exist.
        model: The network that is trained.
        update: Its optimiser.
        identity: Of the run.

    Raises:
        LecoreError: If nothing can be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: nn.Module,
        update: torch.optim.Optimizer,
        identity: Identity,
    ) -> None:
        self.path, self.model, self.update = file_of("checkpoint", path), model, update
        self.identity = identity

    def save(self, losses: list[float], accuracies: list[float]) -> None:
        """Write the file anew."""
        state = {
            "model": self.model.state_dict(), "optimizer": self.update.state_dict(),
            "identity": self.identity, "losses": losses, "accuracies": accuracies,
        }  # fmt: skip
        with whole_file(self.path) as stream:
            torch.save(state, stream)

    def resume(self, steps: int) -> tuple[list[float], list[float]]:
        """Go back to where the file was written, if there is one.

        Args:
            steps: That are wanted.

        Returns:
            Losses and accuracies of the steps taken.

        Raises:
            LecoreError: If the file is damaged, of another run, or of more steps.
        """
        if not self.path.exists():
            return [], []
        what, device = f"checkpoint {self.path}", next(self.model.parameters()).device
        try:
            state = torch.load(self.path, weights_only=True, map_location=device)
            known = dict(state["identity"])
            losses, accuracies = list(state["losses"]), list(state["accuracies"])
        except Exception as error:  # damaged files raise errors of many kinds
            raise LecoreError(f"{what} is damaged, or no checkpoint", "delete it") from error
        refuse_another(known, self.identity, what, "delete it, or take another file")
        if len(losses) > steps:
            raise LecoreError(
                f"{what} holds {len(losses)} steps, and only {steps} are wanted",
                "take at least as many epochs, or delete it",
            )
        self.model.load_state_dict(state["model"])
        self.update.load_state_dict(state["optimizer"])
        return losses, accuracies

    def remove(self) -> None:
        """What is finished needs none."""
        self.path.unlink(missing_ok=True)

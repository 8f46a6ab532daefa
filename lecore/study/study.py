"""One object for a network of one's own: its data, its step, and the questions to ask of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from lecore.arguments.names import Choices, check_name
from lecore.arguments.settings import MOST, whole
from lecore.changes import linearized_change, prediction_change
from lecore.engine.network.flags import Precision
from lecore.engine.optimizer_steps import checked_rate, has_rule, own_names
from lecore.engine.points import kept
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError
from lecore.losses import LOSSES, Loss, cross_entropy
from lecore.similarity import relative_similarity
from lecore.study import findings, language
from lecore.study.checkpoints import Checkpoints, at_checkpoints
from lecore.study.examples import Examples, examples, of_side, with_classes
from lecore.study.first_prediction import check_loss
from lecore.study.influence import self_influence
from lecore.study.influence_blocks import influence_blocks
from lecore.study.parameters import only_these_train, patterns_of
from lecore.study.planning import planned
from lecore.study.predictions import Predicted, predicted
from lecore.study.results import results
from lecore.study.row_model import Output, over_rows
from lecore.study.sketched_influence import sketched_influence
from lecore.study.strongest import Strongest

STEPS = Choices("step", {"exact": prediction_change, "linear": linearized_change})
"""What measures a change."""


class Study:
    """A network, the examples it learns from, and those that it is asked about.

    Nothing is computed until a question is asked, and the network is left as it was found.

    Args:
        model: Any module, in eval mode if it has dropout or normalisation layers.
        train: Examples to take a step on, see :func:`lecore.study.examples.examples`.
        test: Examples whose predictions are looked at; those of ``train`` if left out.
        target: Where the targets are, see there.
        output: Which part of what the model gives is measured: a name, a function that returns
            shape (n, outputs), or the tensor itself or its ``logits`` if left out.
        loss: Loss of one prediction, by name (a key of :data:`lecore.losses.LOSSES`) or as a
            function, see :mod:`lecore.losses`. ``"next token"`` for language models, whose outputs
            are :func:`~lecore.study.language.token_log_probabilities`.
        learning_rate: η of a plain SGD step.
        optimizer: Instead of it, an optimiser of this model: the step is its next one. To first
            order that is known of SGD, Adam and AdamW.
        outputs: Numbers of those whose changes are kept, such as some classes; the loss takes all.
        parameters: Patterns of names such as ``layer4.*``; all others stay fixed.
        dtype: Precision of the calculation; float64 if left out.

    Raises:
        LecoreError: If the data, the loss or the optimiser are unfit; see the message.

    Warns:
        UserWarning: If the loss takes the sigmoid of a model that ends in one.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        test: Any = None,
        *,
        target: str | int | bool | None = None,
        output: Output = None,
        loss: Loss | str | None = None,
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        outputs: Sequence[int] | None = None,
        parameters: str | Sequence[str] | None = None,
        dtype: Precision | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise LecoreError(f"the model is a {type(model).__name__}", "give a torch.nn.Module")
        if output is not None and not isinstance(output, str) and not callable(output):
            raise LecoreError(f"output is {output!r}", "give a name or a function of the output")
        if learning_rate is not None:
            learning_rate = checked_rate(learning_rate)
            if optimizer is not None:
                raise LecoreError("give either learning_rate (a plain SGD step) or optimizer")
        if optimizer is not None:
            own_names(optimizer, model, ())
        if outputs is not None:
            outputs = list(kept(outputs, MOST))  # how many there are the first answer tells
        speaks = isinstance(loss, str) and loss == language.NEXT_TOKEN
        sides = []
        for name, data in (("train", train), ("test", test))[: 1 if test is None else 2]:
            with of_side("" if test is None else name):
                side = examples(data, False if speaks else target)
                sides.append(language.sentences(side) if speaks else side)
        if speaks:
            language.check_places(output, target)
            loss, output = language.next_token_loss, language.token_log_probabilities
        elif isinstance(loss, str):
            check_name("loss", loss, [*LOSSES, language.NEXT_TOKEN])
            loss = LOSSES[loss]
        if loss is cross_entropy:
            sides = [with_classes(side) for side in sides]
        self.train, self.test = sides[0], sides[-1]
        self.model, self.output, self.loss, self.dtype = model, output, loss, dtype
        self.learning_rate, self.optimizer, self.outputs = learning_rate, optimizer, outputs
        self.patterns, self.target = patterns_of(parameters), target
        self._network, self._rows, self._columns = over_rows(model, self.train, self.test, output)
        check_loss(self)

    def plan(self, tiles: Tiles = Tiles()) -> pd.DataFrame:  # noqa: B008 - frozen
        """What each question will take, told from small trials, within a factor of two or so.

        Args:
            tiles: How the work would be cut up; nothing is written to a ``store``.

        Returns:
            A line for each that can be asked, with ``seconds`` for all examples, ``result`` and
            ``work``, GiB given back and in hand beside it, and ``route``, how it is computed.
        """
        with self._trained():
            return planned(self, tiles)

    def follow(self, checkpoints: Checkpoints) -> Iterator[tuple[str, "Study"]]:
        """The same study at the weights that training left in files.

        The files hold a ``state_dict``, as safetensors or by ``torch.save``. The model stays.

        Args:
            checkpoints: A pattern such as ``"runs/*.safetensors"``, whose files are taken in the
                order of the numbers in their names, or paths in an order of your own.

        Yields:
            The file's name, and the study there.
        """
        return at_checkpoints(self, checkpoints)

    def change(
        self,
        step: Literal["exact", "linear"] = "exact",
        tiles: Tiles = Tiles(),  # noqa: B008
    ) -> Any:
        """How far a step on each training example moves each test prediction.

        Args:
            step: ``exact`` takes the step (He & Su, equation 1), ``linear`` its first order.
            tiles: How the work is cut up, where it runs and where the result goes.

        Returns:
            Shape (train, test, outputs), see :func:`~lecore.changes.prediction_change`.
        """
        with self._trained():
            return STEPS[step](
                self._network, self._rows, self._targets(self.train),
                None if self.test is self.train else self._columns,
                learning_rate=self.learning_rate, optimizer=self.optimizer, loss=self.loss,
                outputs=self.outputs, dtype=self.dtype, tiles=tiles,
            )  # fmt: skip

    def similarity(self, step: Literal["exact", "linear"] = "exact") -> Tensor:
        """S_rel: change at each test example over that of the training example's own prediction.

        Args:
            step: As in :meth:`change`.

        Returns:
            Shape (train, test), see :func:`~lecore.similarity.relative_similarity`.
        """
        own = None if self.test is self.train else self.own_change(step)
        return relative_similarity(self.change(step), own)

    def own_change(self, step: Literal["exact", "linear"] = "exact") -> Tensor:
        """How far a step on each training example moves its own prediction, (train, outputs)."""
        with self._trained():
            return findings.own_changes(
                STEPS[step], self._network, self._rows, self._targets(self.train),
                learning_rate=self.learning_rate, optimizer=self.optimizer, loss=self.loss,
                outputs=self.outputs, dtype=self.dtype,
            )  # fmt: skip

    def results(self, *questions: str, **settings: Any) -> Any:
        """Answers with their names, an ``xarray.Dataset``: :func:`lecore.study.results.results`."""
        return results(self, *questions, **settings)

    def influence(
        self,
        top: int = 20,
        tiles: Tiles = Tiles(),  # noqa: B008
        features: int | None = None,
    ) -> pd.DataFrame:
        """The training examples that do most to the loss of each test example.

        The influence is η⟨∂L_i/∂w, ∂L_j/∂w⟩ (TracIn): how far, to first order, a plain step on
        training example i lowers the loss of test example j. η is 1 without ``learning_rate``.

        Args:
            top: How many that lower it and how many that raise it, at most.
            tiles: How the work is cut up, see :meth:`influences`.
            features: Estimate it from so many random features of each gradient, 4096 say. Each
                example then passes once, however many pairs and however little memory; see
                :func:`~lecore.engine.sketches.gradient_sketch`. A ``store`` then keeps these.

        Returns:
            A line a pair, with ``test``, ``train`` and ``influence``, of an estimate with its
            ``standard_error`` too. Of each test example the helpers come first, from the strongest
            on, then the harmers up to the strongest.
        """
        top = whole("top", top)
        if features is not None:
            return sketched_influence(self, int(top), tiles, int(whole("features", features)))
        strongest = Strongest(len(self.test), int(top))
        for start, block in self.influences(tiles):
            strongest.add(block, start)
        return strongest.frame()

    def influences(self, tiles: Tiles = Tiles()) -> Iterator[tuple[int, Tensor]]:  # noqa: B008
        """All of :meth:`influence`, some training examples at a time.

        Args:
            tiles: How the work is cut up. With a ``store`` the whole matrix is kept there, and the
                same call goes on with it.

        Returns:
            Of each block the first's row, and its influences, shape (some, test), float64.
        """
        return influence_blocks(self, tiles)

    def self_influence(self) -> pd.Series:
        """‖∂L_i/∂w‖² of every training example, by its row: large for mislabelled and odd ones."""
        with self._trained():
            found = self_influence(
                self._network, self._rows, self._targets(self.train), loss=self.loss,
                dtype=self.dtype,
            )  # fmt: skip
        return pd.Series(found.cpu().double().numpy(), name="self-influence").rename_axis("train")

    def by_layer(self, pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
        """What each layer adds to the change of some predictions, to first order.

        Args:
            pairs: Rows of a training and a test example each.

        Returns:
            A line for each pair, layer and output, with ``train``, ``test``, ``layer``,
            ``output`` and ``change``.
        """
        rate = findings.plain_rate(self.learning_rate)
        pairs = findings.pairs_of(pairs, len(self.train), len(self.test))
        with self._trained():
            found = findings.layer_changes(
                self._network, self._rows, self._targets(self.train), self._columns, pairs,
                outputs=self.outputs, learning_rate=rate, loss=self.loss, dtype=self.dtype,
            )  # fmt: skip
        found["layer"] = found["layer"].map(self._own_name)
        return found

    def predicted(self) -> tuple[Predicted, Predicted]:
        """Predictions and losses of the training and of the test examples."""
        sides = ((self._rows, self.train), (self._columns, self.test))
        left, right = (
            predicted(self._network, points, self._targets(side), self.loss, self.dtype)
            for points, side in sides
        )
        return left, right

    def trust(self) -> findings.Trust | None:
        """How far the first order is from a real step, on some examples; none without either."""
        if self.learning_rate is None and not has_rule(self.optimizer):
            return None
        with self._trained():
            return findings.trust(
                self._network, self._rows, self._targets(self.train), self._columns,
                learning_rate=self.learning_rate, optimizer=self.optimizer, loss=self.loss,
            )  # fmt: skip

    def layer_shares(self) -> pd.Series:
        """The part of each layer in the self-influence of some training examples."""
        with self._trained():
            shares = findings.layer_shares(
                self._network, self._rows, self._targets(self.train),
                loss=self.loss, dtype=self.dtype,
            )  # fmt: skip
        return shares.rename(self._own_name)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        top: int = 5,
        shown: int = 12,
        thumbnails: tuple[Any, Any] | None = None,
        texts: tuple[Sequence[str], Sequence[str]] | None = None,
        class_names: Sequence[str] | None = None,
        tokenizer: Any = None,
        checkpoints: Checkpoints | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write all of it as one HTML file, without scripts and without another host.

        Args:
            path: The file.
            top: Helpers and harmers of a test example that are shown.
            shown: Test examples that are shown, those with the largest loss.
            thumbnails: Images of both sides, see :func:`lecore.study.pictures.as_images`; inputs
                that look like images are shown anyway.
            texts: Texts of both; of a sample, those of the whole data, and so with thumbnails.
            class_names: Names of the classes.
            tokenizer: Reads the tokens of a language model, which are coloured by what moved.
            checkpoints: Files with weights of earlier in training, see :meth:`follow`.
            store: A folder that keeps all influences, so that an interrupted report goes on.

        Raises:
            LecoreError: If checkpoints, pictures, texts or names do not fit, or the extra
                ``report`` (for ``store``: ``scale``) is not installed.
        """
        from lecore.study.report import write_report

        write_report(
            self, path, top=top, shown=shown, thumbnails=thumbnails, texts=texts,
            class_names=class_names, tokenizer=tokenizer, checkpoints=checkpoints, store=store,
        )  # fmt: skip

    def _targets(self, side: Examples) -> Tensor:
        if side.targets is None:
            name = "test" if side is self.test else "train"
            raise LecoreError(
                "the data have no targets",
                "give a tuple (inputs, targets), or a mapping and target= with the column's name; "
                "zeros will do for a loss that takes none",
                "" if self.test is self.train else name,
            )
        return side.targets.to(self._rows.device)

    def _own_name(self, layer: str) -> str:
        """A layer's name in the caller's model."""
        return layer if self._network is self.model else layer.removeprefix("model").lstrip(".")

    def _trained(self) -> AbstractContextManager[None]:
        """Only the parameters that were asked for are trained inside."""
        return only_these_train(self.model, self.patterns)

"""Networks, data and training loops of other packages, where these are installed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore import Study, Tracker
from lecore.data.torchvision_import import import_torchvision

pytestmark = [
    pytest.mark.packages,
    # what these packages warn of on import and in training is theirs
    pytest.mark.filterwarnings("ignore"),
]
RATE, N, WORDS, LENGTH = 1e-3, 6, 30, 9


@pytest.fixture
def hf(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import_torchvision()  # beside torch's CPU build, before transformers imports it
    return pytest.importorskip("transformers")


def words():
    ids = torch.randint(1, WORDS, (N, LENGTH))
    mask = (torch.arange(LENGTH) < torch.randint(4, LENGTH + 1, (N, 1))).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def bert_of(hf):
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    return hf.BertForSequenceClassification(
        hf.BertConfig(vocab_size=WORDS, intermediate_size=24, num_labels=3, **small)
    )


def moved(model, optimizer, loss, predict):
    """How far a real step on each example moves all predictions, each on a copy."""
    changes = []
    for i in range(N):
        one = copy.deepcopy(model).double()
        before = predict(one, slice(None)).detach()
        step = optimizer(one.parameters())
        loss(predict(one, slice(i, i + 1)), i).backward()
        step.step()
        changes.append(predict(one, slice(None)).detach() - before)
    return torch.stack(changes)


def sgd(parameters):
    return torch.optim.SGD(parameters, RATE)


FORMS = {
    "tuple": lambda hf, x, y: (x, y),
    "columns": lambda hf, x, y: x | {"labels": y},
    "batch encoding": lambda hf, x, y: hf.BatchEncoding(x | {"labels": y}),
    "datasets": lambda hf, x, y: pytest.importorskip("datasets")
    .Dataset.from_dict({k: v.tolist() for k, v in (x | {"labels": y}).items()})
    .with_format("torch"),
    "loader": lambda hf, x, y: torch.utils.data.DataLoader(
        [{k: v[i] for k, v in (x | {"labels": y}).items()} for i in range(N)], batch_size=4,
        collate_fn=hf.default_data_collator,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_bert_moves_as_by_a_real_step(hf, form):
    model, x, y = bert_of(hf).eval(), words(), torch.arange(N) % 3
    target = None if form == "tuple" else "labels"
    study = Study(
        model, FORMS[form](hf, x, y), target=target, loss="cross_entropy", learning_rate=RATE
    )
    wanted = moved(
        model, sgd, lambda given, i: F.cross_entropy(given, y[i : i + 1]),
        lambda one, rows: one(**{k: v[rows] for k, v in x.items()}).logits,
    )  # fmt: skip
    torch.testing.assert_close(study.change(), wanted, rtol=0, atol=1e-10 * wanted.abs().max())


def test_gpt2_moves_token_by_token_as_by_a_real_step(hf):
    config = hf.GPT2Config(
        vocab_size=WORDS, n_layer=2, n_head=2, n_embd=16, n_positions=LENGTH, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model, x = hf.GPT2LMHeadModel(config).eval(), words()
    counts = x["attention_mask"][:, 1:]

    def log_p(one, rows):
        logits = one(**{k: v[rows] for k, v in x.items()}).logits[:, :-1].log_softmax(-1)
        return logits.gather(-1, x["input_ids"][rows, 1:, None])[..., 0] * counts[rows]

    study = Study(model, x, loss="next token", learning_rate=RATE)
    wanted = moved(model, sgd, lambda given, i: -given.sum() / counts[i].sum(), log_p)
    torch.testing.assert_close(study.change(), wanted, rtol=0, atol=1e-10 * wanted.abs().max())


def test_resnet_of_a_thousand_classes_moves_as_by_a_real_step():
    model = import_torchvision().models.resnet18().eval()
    x, y = torch.rand(N, 3, 32, 32), torch.arange(N)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)

    def adamw(parameters):
        return torch.optim.AdamW(parameters, RATE)

    study = Study(model, loader, loss="cross_entropy", optimizer=adamw(model.parameters()))
    wanted = moved(
        model, adamw, lambda given, i: F.cross_entropy(given, y[i : i + 1]),
        lambda one, rows: one(x[rows].double()),
    )  # fmt: skip
    torch.testing.assert_close(study.change(), wanted, rtol=0, atol=1e-10 * wanted.abs().max())


def followed(study, every=2):
    return Tracker({"S_rel": lambda model: study.similarity("linear")}, every=every)


def test_a_training_by_lightning_is_followed():
    lightning = pytest.importorskip("lightning")
    x, y = torch.randn(N, 4), torch.randn(N, 1)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1))

        def training_step(self, batch, _):
            return F.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Module()
    tracker = followed(Study(module.net.eval(), (x, y), loss="squared_error", learning_rate=RATE))
    module.net.train()

    class Follow(lightning.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            tracker(trainer.global_step, module)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=2)
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[Follow()], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)
    assert tracker.steps == [2, 4, 6]
    last = Study(module.net.eval(), (x, y), loss="squared_error", learning_rate=RATE)
    found = torch.tensor(tracker.curve("S_rel")[-1])
    torch.testing.assert_close(found, last.similarity("linear").double().cpu())


def test_a_training_by_hugging_face_is_followed(hf, tmp_path):
    pytest.importorskip("accelerate")
    model, x, y = bert_of(hf), words(), torch.arange(N) % 3
    study = Study(
        model.eval(), x | {"labels": y}, target="labels", loss="cross_entropy", learning_rate=RATE
    )
    tracker = followed(study)

    class Follow(hf.TrainerCallback):
        def on_step_end(self, args, state, control, model, **_):
            tracker(state.global_step, model)

    rows = [{k: v[i] for k, v in (x | {"labels": y}).items()} for i in range(N)]
    settings = hf.TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=2, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = hf.Trainer(model, settings, train_dataset=rows, callbacks=[Follow()])
    trainer.train()
    assert tracker.steps == [2, 4]
    assert model.training, "the tracker left the network in another mode"
    model.eval()
    found = torch.tensor(tracker.curve("S_rel")[-1])
    torch.testing.assert_close(found, study.similarity("linear").double().cpu())

"""The README's examples run as printed."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from test_study import Reader
from test_study_language import Speaker
from torch import nn

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
WORDS, LENGTH = 11, 6
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's transformer layers


def stand_ins():
    """Networks with the inputs and outputs of BERT and GPT-2."""
    return Reader().eval(), Speaker().eval()


def hugging_face():
    """The real ones, small, with random weights."""
    pytest.importorskip("transformers")
    from lecore.data.torchvision_import import import_torchvision

    import_torchvision()
    import transformers as hf

    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}
    bert = hf.BertConfig(vocab_size=WORDS, intermediate_size=16, num_labels=2, **small)
    gpt2 = hf.GPT2Config(vocab_size=WORDS, n_layer=2, n_head=2, n_embd=8, n_positions=LENGTH)
    return hf.BertForSequenceClassification(bert).eval(), hf.GPT2LMHeadModel(gpt2).eval()


def sentences(n):
    ids = torch.randint(1, WORDS, (n, LENGTH))
    mask = (torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (n, 1))).long()
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(
    "networks", [stand_ins, pytest.param(hugging_face, marks=pytest.mark.packages)]
)
def test_its_examples_run(tmp_path, monkeypatch, networks):
    monkeypatch.chdir(tmp_path)
    model, (bert, gpt2) = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), networks()
    names = {
        "model": model, "x": torch.randn(9, 3), "y": torch.randn(9),
        "adam": torch.optim.Adam(model.parameters(), 1e-3),
        "bert": bert, "train": (sentences(20), torch.arange(20) % 2), "gpt2": gpt2,
        "test": (sentences(6), torch.arange(6) % 2), "sentences": sentences(5),
        "probes": sentences(4), "lightning": SimpleNamespace(Callback=object),
        "tokenizer": lambda ids: " ".join(map(str, ids)),
    }  # fmt: skip
    (tmp_path / "runs").mkdir()
    for step in (9, 10):
        save_file(bert.state_dict(), tmp_path / f"runs/step-{step}.safetensors")
    for block in BLOCKS:
        exec(block, names)
    assert names["kernel"].shape == (9, 9, 1, 1)
    assert names["name"] == "step-10.safetensors"
    names["Follow"]().on_train_batch_end(SimpleNamespace(global_step=0), bert)
    assert names["tracker"].curve("S_rel").shape == (1, 20, 6)
    assert "step-9" in (tmp_path / "report.html").read_text(encoding="utf-8")

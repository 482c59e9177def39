"""Adapters: nothing at first, a correction after training, the same merged or apart, and files that PEFT knows."""

from pathlib import Path

import pytest
import torch

from studio.config.model import LoraConfig, ModelConfig
from studio.core.errors import IncompatibleError, NotFoundError
from studio.core.fsio import read_json
from studio.nn.adapters import add_adapter, load_adapter, merge_adapter, write_adapter
from studio.nn.checkpoint_files import read_tensors
from studio.nn.gpt import GPT
from tests.nn.test_checkpoint import CONFIG

LORA = LoraConfig(r=2, lora_alpha=8, lora_dropout=0.0)
IDS = torch.arange(24).reshape(2, 12)


def model(config: ModelConfig = CONFIG) -> GPT:
    torch.manual_seed(0)
    return GPT(config).eval()


def trained() -> GPT:
    adapted = add_adapter(model(), LORA)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    return adapted


def test_a_fresh_adapter_changes_nothing_and_alone_trains() -> None:
    plain, adapted = model(), add_adapter(model(), LORA)
    assert torch.equal(plain(IDS), adapted(IDS))
    loss, _ = adapted.loss(IDS, IDS)
    loss.backward()
    training = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert training
    assert all("lora_" in name for name in training)
    assert len(training) == 2 * len(LORA.target_modules) * CONFIG.n_layer


def test_merging_changes_no_output_and_leaves_a_plain_model() -> None:
    adapted = trained()
    before = adapted(IDS)
    assert not torch.allclose(before, model()(IDS))
    merged = merge_adapter(adapted)
    assert torch.allclose(merged(IDS), before, atol=1e-5)
    assert merged.state_dict().keys() == model().state_dict().keys()
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_the_folder_has_the_files_of_the_spec(tmp_path: Path) -> None:
    adapted = trained()
    folder = write_adapter(adapted, LORA, tmp_path / "adapter", base_model="models/base")
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    config = read_json(folder / "adapter_config.json")
    assert (config["peft_type"], config["r"], config["task_type"]) == ("LORA", 2, "CAUSAL_LM")
    assert "models/base" in (folder / "README.md").read_text()
    shapes = {name: tuple(tensor.shape) for name, tensor in read_tensors(folder / "adapter_model.safetensors").items()}
    assert shapes["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"] == (2, CONFIG.n_embd)
    assert torch.equal(load_adapter(model(), folder)(IDS), adapted(IDS))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="nowhere"):
        add_adapter(model(), LoraConfig(target_modules=["nowhere"]))
    folder = write_adapter(trained(), LORA, tmp_path / "adapter", base_model="base")
    for change in ({"n_embd": 32, "head_dim": 16}, {"n_layer": 2}):
        with pytest.raises(IncompatibleError, match="lora_A"):
            load_adapter(model(CONFIG.model_copy(update=change)), folder)
    deeper = add_adapter(model(CONFIG.model_copy(update={"n_layer": 2})), LORA)
    deep = write_adapter(deeper, LORA, tmp_path / "deep", base_model="base")
    with pytest.raises(IncompatibleError, match=r"layers\.1"):
        load_adapter(model(), deep)
    with pytest.raises(NotFoundError):
        load_adapter(model(), tmp_path / "absent")

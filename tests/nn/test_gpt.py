"""The model against transformers' own Qwen3, against itself in pieces, and its state dict."""

from typing import Any

import pytest
import torch

from studio.config.model import ModelConfig
from studio.nn.gpt import GPT
from studio.nn.kv_cache import KVCache


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(
        **({"vocab_size": 97, "n_embd": 32, "n_head": 4, "intermediate_size": 48, "sequence_len": 40} | changes)
    )


def model(seed: int = 0, **changes: Any) -> GPT:
    """A model in evaluation mode whose every weight counts (fresh ones have zeros where a layer adds to the stream)."""
    torch.manual_seed(seed)
    gpt = GPT(config(**changes))
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return gpt.eval()


def ids(rows: int, length: int, vocab: int = 97, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_logits_are_those_of_transformers(tied: bool, kv_heads: int) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ours = model(tie_word_embeddings=tied, n_kv_head=kv_heads)
    settings = ours.config.to_hf()
    settings.pop("architectures")
    theirs = Qwen3ForCausalLM(Qwen3Config(**settings)).eval()
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert unexpected == []
    assert missing == (["lm_head.weight"] if tied else [])
    tokens = ids(3, 40)
    with torch.no_grad():
        difference = (ours(tokens) - theirs(tokens).logits).abs().max()
    assert difference <= 1e-4


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_number_of_weights_is_what_the_config_says(tied: bool) -> None:
    gpt = GPT(config(tie_word_embeddings=tied))
    assert sum(weight.numel() for weight in gpt.parameters()) == gpt.config.parameters
    assert sum(weight.numel() for weight in gpt.state_dict().values()) == gpt.config.parameters


def test_head_that_is_tied_is_not_in_the_state_dict_and_stays_tied() -> None:
    gpt, other = model(0), model(1)
    assert "lm_head.weight" not in gpt.state_dict()
    other.load_state_dict(gpt.state_dict())
    assert other.lm_head.weight is other.model.embed_tokens.weight
    assert torch.equal(other(ids(1, 9)), gpt(ids(1, 9)))


def test_a_state_dict_with_the_tied_head_spelled_out_is_read_too() -> None:
    gpt, other = model(0), model(1)
    other.load_state_dict({**gpt.state_dict(), "lm_head.weight": gpt.lm_head.weight})
    assert torch.equal(other(ids(1, 9)), gpt(ids(1, 9)))


def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        states.append(torch.cat([weight.flatten() for weight in GPT(config()).state_dict().values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_dropout_acts_in_training_only() -> None:
    gpt, tokens = model(dropout=0.5), ids(2, 12)
    assert torch.equal(gpt(tokens), gpt(tokens))
    gpt.train()
    assert not torch.equal(gpt(tokens), gpt(tokens))


def test_a_later_token_changes_nothing_before_it() -> None:
    gpt, tokens = model(), ids(1, 20)
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 97
    assert torch.equal(gpt(tokens)[:, :10], gpt(changed)[:, :10])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_packed_documents_give_the_logits_of_separate_ones(training: bool) -> None:
    gpt = model().train(training)
    parts = [ids(2, length, seed=length) for length in (7, 20, 13)]
    segments = torch.cat([torch.full((2, part.shape[1]), number) for number, part in enumerate(parts)], dim=1)
    with torch.no_grad():
        packed = gpt(torch.cat(parts, dim=1), segments)
        alone = torch.cat([gpt(part) for part in parts], dim=1)
    assert (packed - alone).abs().max() <= 1e-5


def test_training_and_evaluation_attend_alike() -> None:
    gpt, tokens = model(), ids(2, 40)
    with torch.no_grad():
        assert (gpt(tokens) - gpt.train()(tokens)).abs().max() <= 1e-5


def test_a_row_longer_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="41 tokens are longer than the model's sequence_len 40"):
        model()(ids(1, 41))


def test_loss_is_the_mean_over_counted_targets() -> None:
    gpt, tokens, targets = model(), ids(3, 20), ids(3, 20, seed=2)
    targets[0, :11] = -100
    loss, counted = gpt.loss(tokens, targets)
    expected = torch.nn.functional.cross_entropy(gpt(tokens).flatten(0, 1), targets.flatten())
    assert int(counted) == 49
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_gradients_are_those_of_the_plain_loss(tied: bool) -> None:
    gpt, tokens, targets = model(tie_word_embeddings=tied).train(), ids(3, 20), ids(3, 20, seed=2)
    gpt.loss(tokens, targets)[0].backward()
    ours = {name: weight.grad.clone() for name, weight in gpt.named_parameters() if weight.grad is not None}
    gpt.zero_grad()
    torch.nn.functional.cross_entropy(gpt(tokens).flatten(0, 1), targets.flatten()).backward()
    assert len(ours) == len(list(gpt.parameters()))
    for name, weight in gpt.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, atol=1e-6, rtol=1e-4)


def test_decoding_token_by_token_gives_the_logits_of_a_full_pass() -> None:
    gpt, tokens = model(n_kv_head=2), ids(3, 40)
    cache = KVCache(gpt.config, slots=3)
    pieces = [gpt.decode(tokens[:, :17], cache)] + [gpt.decode(tokens[:, i : i + 1], cache) for i in range(17, 40)]
    with torch.no_grad():
        assert (torch.cat(pieces, dim=1) - gpt(tokens)).abs().max() <= 1e-4
    assert cache.lengths == [40, 40, 40]


def test_streams_of_different_lengths_decode_as_if_alone() -> None:
    gpt, tokens, lengths = model(), ids(3, 30), [3, 21, 11]
    with torch.no_grad():
        full = gpt(tokens)
    cache = KVCache(gpt.config, slots=3)
    logits = gpt.decode(tokens[:, :21], cache, new=lengths, last_only=True)
    for row, length in enumerate(lengths):
        assert (logits[row] - full[row, length - 1]).abs().max() <= 1e-4
    for _ in range(8):
        column = torch.stack([tokens[row, cache.lengths[row]] for row in range(3)])[:, None]
        logits = gpt.decode(column, cache, last_only=True)
        for row in range(3):
            assert (logits[row] - full[row, cache.lengths[row] - 1]).abs().max() <= 1e-4


def test_a_slot_can_be_used_again_while_others_go_on() -> None:
    gpt, tokens = model(), ids(2, 30)
    with torch.no_grad():
        full = gpt(tokens)
    cache = KVCache(gpt.config, slots=2)
    gpt.decode(ids(2, 25, seed=9), cache)
    cache.reset([1])
    gpt.decode(tokens[1:, :12], cache, slots=[1])
    logits = gpt.decode(tokens[1:, 12:13], cache, slots=[1], last_only=True)
    assert (logits[0] - full[1, 12]).abs().max() <= 1e-4
    assert cache.lengths == [25, 13]


def test_a_full_slot_is_named() -> None:
    gpt = model()
    cache = KVCache(gpt.config, slots=2, capacity=10)
    gpt.decode(ids(2, 8), cache, new=[8, 2])
    with pytest.raises(ValueError, match="slot 0 holds 8 of 10 tokens, 3 do not fit"):
        gpt.decode(ids(2, 3), cache)
    assert cache.lengths == [8, 2]


def test_a_cache_longer_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"capacity 41 is outside 1\.\.40"):
        KVCache(config(), slots=1, capacity=41)


def test_bf16_weights_decode() -> None:
    gpt = model().to(torch.bfloat16)
    cache = KVCache(gpt.config, slots=2, dtype=torch.bfloat16)
    tokens = ids(2, 10)
    with torch.no_grad():
        full = gpt(tokens)[:, -1]
    assert full.dtype == torch.bfloat16
    assert (gpt.decode(tokens, cache, last_only=True) - full).abs().max() <= 0.1

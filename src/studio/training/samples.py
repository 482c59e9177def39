"""What the model says while it is being trained: the likeliest continuation of each prompt.

It knows the model, the tokenizer and a few prompts. Always greedy, so that it draws no random number and the course of
the run does not depend on it.
"""

import torch
from lightning.pytorch import LightningModule

from studio.core.stopping import StopFlag
from studio.nn.gpt import GPT
from studio.nn.kv_cache import KVCache
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer


class GreedySampler:
    """Answers `prompts`; in `chat` each is the user's turn of a conversation, otherwise the beginning of a text."""

    def __init__(self, tokenizer: Tokenizer, prompts: list[str], *, chat: bool, max_tokens: int) -> None:
        self._tokenizer, self._prompts, self._max_tokens = tokenizer, prompts, max_tokens
        self._chat = chat

    def __call__(self, module: LightningModule, stop: StopFlag) -> list[list[str]]:
        """[[prompt, answer], ...], as many as there was time for."""
        gpt = module.gpt
        assert isinstance(gpt, GPT)
        was_training = gpt.training
        gpt.eval()
        try:
            items = []
            for prompt in self._prompts:
                if stop.is_set():
                    break
                ids = continue_greedily(gpt, self._ids(prompt), self._max_tokens, self._ends())
                items.append([prompt, self._tokenizer.decode(ids)])
            return items
        finally:
            gpt.train(was_training)

    def _ids(self, prompt: str) -> list[int]:
        if self._chat:
            return render_chat(self._tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True)
        return [self._tokenizer.bos_id, *self._tokenizer.encode(prompt)]

    def _ends(self) -> set[int]:
        return {self._tokenizer.eos_id, self._tokenizer.end_id}


@torch.no_grad()
def continue_greedily(gpt: GPT, prompt_ids: list[int], max_tokens: int, ends: set[int]) -> list[int]:
    """The likeliest next tokens until one of `ends`, `max_tokens` or a full context. A long prompt loses its start."""
    limit = gpt.config.sequence_len
    ids = prompt_ids[-max(1, limit - max_tokens) :]
    device = next(gpt.parameters()).device
    cache = KVCache(gpt.config, 1, device=device)
    answer: list[int] = []
    fresh = torch.tensor([ids], device=device)
    while len(answer) < max_tokens and cache.room(0) >= fresh.shape[1]:
        logits_BV = gpt.decode(fresh, cache, last_only=True)
        token = int(logits_BV[0].argmax())
        if token in ends:
            break
        answer.append(token)
        fresh = torch.tensor([[token]], device=device)
    return answer

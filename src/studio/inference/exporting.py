"""Making an export that may be used: export, judge, and only then put it where engines look.

It brings together what `nn.export` writes, what the trainer's model and ONNX Runtime compute, and what `nn.parity`
thinks of both. It refuses to know pipelines and records.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ParityError, StudioError
from studio.core.fsio import sha256_file, staged_directory, sweep_staging
from studio.inference.backends.base import Backend, greedy
from studio.inference.backends.onnx import OnnxBackend
from studio.nn.export import differing_weights, export_onnx
from studio.nn.exported import (
    EXPORT_FOLDER,
    FP32_FILE,
    INT8_FILE,
    Agreement,
    ExportInfo,
    ParityReport,
    read_export,
    verify_export,
    write_parity,
)
from studio.nn.parity import (
    MAX_LOGIT_DELTA,
    MAX_LOGIT_DELTA_INT8,
    MIN_GREEDY_INT8,
    NEW_TOKENS,
    PROMPTS,
    Conversation,
    Limits,
    check_token_ids,
    compare,
    require,
)
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.nn.gpt import GPT

TEXTS = (
    "Where is the red ball? It is on the table.",
    "¿Dónde está la pelota roja? Está en la mesa, dijo Ana.",
    "12 + 7 = 19; 3,50 € at 09:45",
    "  spaces,\ttabs\nand lines  ",
    "naïve Straße, Žižek, Ελλάδα, 日本語, 🙂👍🏽",
)


class BackendScorer:
    """A backend as one side of the comparison."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See `nn.parity.Scorer`."""
        return self._backend.score(ids)

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """See `nn.parity.Scorer`."""
        return greedy(self._backend, prompts, tokens)


def export_verified(
    checkpoint_dir: Path,
    *,
    int8: bool = True,
    max_logit_delta: float = MAX_LOGIT_DELTA,
    min_greedy_int8: float = MIN_GREEDY_INT8,
    prompts: int = PROMPTS,
    new_tokens: int = NEW_TOKENS,
    texts: Sequence[str] = (),
    trainer: "GPT | None" = None,
    trainer_tokenizer: Tokenizer | None = None,
) -> ParityReport:
    """Export a checkpoint to its `onnx/` folder through the parity gate; an export that still holds is kept.

    `texts` (for instance of the corpus) become prompts beside built-in ones; `trainer` and `trainer_tokenizer` default
    to those of the checkpoint, whose files are checked against its manifest first. ParityError names what differs
    (template, tokenizer, weights), and nothing is published. int8 that does not hold is left out, not an error.
    """
    final = checkpoint_dir / EXPORT_FOLDER
    kept = _kept(final, checkpoint_dir, int8)
    if kept is not None:
        return kept
    reference = _trainer_scorer(checkpoint_dir, trainer)
    tokenizer = trainer_tokenizer or Tokenizer.load(checkpoint_dir)
    sweep_staging(checkpoint_dir)
    shutil.rmtree(final, ignore_errors=True)
    with staged_directory(final) as folder:
        graphs = export_onnx(checkpoint_dir, folder, int8=int8)
        report = judge(
            folder,
            graphs,
            reference,
            tokenizer,
            checkpoint_dir=checkpoint_dir,
            texts=[*texts, *TEXTS],
            prompts=prompts,
            new_tokens=new_tokens,
            fp32=Limits(max_logit_delta),
            int8=Limits(MAX_LOGIT_DELTA_INT8, min_greedy_int8),
        )
    return report


def judge(
    folder: Path,
    graphs: Sequence[Path],
    reference: BackendScorer,
    tokenizer: Tokenizer,
    *,
    checkpoint_dir: Path,
    texts: Sequence[str] = TEXTS,
    prompts: int = PROMPTS,
    new_tokens: int = NEW_TOKENS,
    fp32: Limits = Limits(),  # noqa: B008  frozen
    int8: Limits = Limits(MAX_LOGIT_DELTA_INT8, MIN_GREEDY_INT8),  # noqa: B008
) -> ParityReport:
    """Hold an export against the trainer and write its `parity.json`; ParityError names what differs."""
    conversations = _conversations(texts)
    check_token_ids(tokenizer, folder, texts, conversations)
    info = read_export(folder)
    _check_vocabulary(tokenizer, info, folder)
    new_tokens = min(new_tokens, info.sequence_len // 2)
    asked = make_prompts(tokenizer, texts, prompts, longest=min(64, info.sequence_len - new_tokens), info=info)
    candidates = {
        graph.name: (BackendScorer(OnnxBackend(graph, info)), int8 if graph.name == INT8_FILE else fp32)
        for graph in graphs
    }
    variants = compare(reference, candidates, asked, new_tokens)
    exact = folder / FP32_FILE
    if not variants[FP32_FILE].holds:
        require(variants[FP32_FILE], exact, differing=differing_weights(checkpoint_dir, exact))
    return write_parity(folder, _report(variants, info, len(texts), len(conversations)))


def make_prompts(
    tokenizer: Tokenizer, texts: Sequence[str], count: int, *, longest: int, info: ExportInfo
) -> list[list[int]]:
    """`count` prompts of at most `longest` tokens: texts, chats about them, then random ids (seeded)."""
    prompts = [[tokenizer.bos_id, *tokenizer.encode(text)][:longest] for text in texts]
    prompts += [
        render_chat(tokenizer, messages, add_generation_prompt=messages[-1]["role"] == "user")[-longest:]
        for messages in _conversations(texts)[: count // 4]
    ]
    random = np.random.Generator(np.random.PCG64(0))
    while len(prompts) < count:
        length = int(random.integers(1, longest + 1))
        prompts.append(random.integers(0, info.vocab_size, length).tolist())
    return prompts[:count]


def _conversations(texts: Sequence[str]) -> list[Conversation]:
    first, *rest = texts
    chats: list[Conversation] = [[{"role": "user", "content": text}] for text in texts]
    chats.append([{"role": "system", "content": first}, *({"role": "user", "content": text} for text in rest[:1])])
    chats.append([{"role": "user", "content": first}, {"role": "assistant", "content": first}])
    return chats


def _report(variants: dict[str, Agreement], info: ExportInfo, texts: int, conversations: int) -> ParityReport:
    int8 = variants.get(INT8_FILE)
    return ParityReport(
        use=INT8_FILE if int8 is not None and int8.holds else FP32_FILE,
        variants=variants,
        texts=texts,
        conversations=conversations,
        checkpoint_sha256=info.checkpoint_sha256,
    )


def _check_vocabulary(tokenizer: Tokenizer, info: ExportInfo, folder: Path) -> None:
    if tokenizer.vocab_size > info.vocab_size:
        raise ParityError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {info.vocab_size}",
            cause="tokenizer",
            where=str(folder / "tokenizer.json"),
        )


def _trainer_scorer(checkpoint_dir: Path, trainer: "GPT | None") -> BackendScorer:
    from studio.inference.backends.torch import TorchBackend
    from studio.nn.checkpoint import load_model

    return BackendScorer(TorchBackend(trainer or load_model(checkpoint_dir)))


def _kept(final: Path, checkpoint_dir: Path, int8: bool) -> ParityReport | None:
    """The verdict of an export that is whole, of these weights and of the variants asked for."""
    try:
        report = verify_export(final)
    except (StudioError, OSError):
        return None
    current = sha256_file(checkpoint_dir / "model.safetensors") == report.checkpoint_sha256
    same_files = all(
        sha256_file(checkpoint_dir / name) == digest
        for name, digest in report.files.items()
        if (checkpoint_dir / name).is_file()
    )
    return report if current and same_files and (INT8_FILE in report.variants) >= int8 else None

"""The parity gate: an exported model may be used only when it and the trainer agree.

It compares what two sides make of the same texts: token ids first (a wrong template or tokenizer makes every later
number meaningless), then logits and greedy choices. It refuses to know how either side computes (both come as a
`Scorer`) and where the verdict lies (`nn.exported`).

How int8 is judged: rounding weights to 8 bits moves logits by more than any bound that would mean something, so its
measure is whether the same token is chosen at each position of the trainer's own greedy continuations
(`greedy_agreement`), with a loose bound on logits, and the mean KL divergence stated beside it. fp32 must choose every
token the same (but for ties) within a tight bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from studio.core.errors import DataError, ParityError, StudioError
from studio.core.fsio import read_json
from studio.nn.exported import Agreement
from studio.text.templates import render_chat, render_jinja
from studio.text.tokenizers import Tokenizer

MAX_LOGIT_DELTA = 1e-3  # fp32
MAX_LOGIT_DELTA_INT8 = 1.0
MIN_GREEDY_FP32 = 1.0
MIN_GREEDY_INT8 = 0.98  # below it int8 is kept out of use
TIE_LOGITS = 1e-4  # two tokens that the trainer itself holds this close may fall either way
PROMPTS = 64
NEW_TOKENS = 32

Conversation = Sequence[dict[str, str]]


class Scorer(Protocol):
    """One side of the comparison."""

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits (T, V) at every position of one sequence."""
        ...

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """The most likely continuation of each prompt, made the way this side decodes (through its cache)."""
        ...


def check_token_ids(
    trainer: Tokenizer, export_dir: Path, texts: Sequence[str], conversations: Sequence[Conversation]
) -> None:
    """Raise ParityError unless the export's files give the trainer's ids: `tokenizer` for texts, else `template`."""
    exported, foreign = _load_exported(export_dir)
    for text in texts:
        wanted = trainer.encode(text)
        if exported.encode(text) != wanted or foreign.encode(text, add_special_tokens=False).ids != wanted:
            raise ParityError(
                f"the export's tokenizer gives other ids than the trainer's for {text[:40]!r}",
                cause="tokenizer",
                where=str(export_dir / "tokenizer.json"),
                remedy="Export again with the tokenizer that the model was trained with.",
            )
    _check_template(trainer, foreign, export_dir, conversations)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an exported graph must hold: the largest |Δlogit| and the least greedy agreement, 0 to 1."""

    logit_delta: float = MAX_LOGIT_DELTA
    greedy: float = MIN_GREEDY_FP32


def compare(
    reference: Scorer,
    candidates: Mapping[str, tuple[Scorer, Limits]],
    prompts: Sequence[Sequence[int]],
    new_tokens: int = NEW_TOKENS,
) -> dict[str, Agreement]:
    """Measure every candidate against the reference on the same prompts; judges nothing (see `Agreement.holds`).

    The reference, which is the slow side, computes each prompt once.
    """
    continuations = reference.greedy(prompts, new_tokens)
    tallies = {name: _Tally() for name in candidates}
    for prompt, continuation in zip(prompts, continuations, strict=True):
        ids = [*prompt, *continuation][:-1]  # the last token was chosen, never fed
        wanted = reference.logits(ids)
        for name, (candidate, _) in candidates.items():
            tallies[name].add(wanted, candidate.logits(ids), chosen=len(continuation))
    for name, (candidate, _) in candidates.items():
        own = candidate.greedy(prompts, new_tokens)
        tallies[name].same = sum(made == wanted for made, wanted in zip(own, continuations, strict=True))
    return {name: tallies[name].agreement(limits) for name, (_, limits) in candidates.items()}


@dataclass(slots=True)
class _Tally:
    prompts: int = 0
    positions: int = 0
    chosen: int = 0
    agreed: int = 0
    same: int = 0
    worst: float = 0.0
    divergence: float = 0.0

    def add(self, wanted: NDArray[np.float32], found: NDArray[np.float32], *, chosen: int) -> None:
        """One prompt with its continuation; its last `chosen` positions are where tokens were chosen."""
        self.prompts += 1
        self.positions += len(wanted)
        self.chosen += chosen
        self.worst = max(self.worst, _delta(wanted, found))
        self.divergence += float(_kl(wanted, found).sum())
        self.agreed += _agreed(wanted[-chosen:], found[-chosen:])

    def agreement(self, limits: Limits) -> Agreement:
        return Agreement(
            prompts=self.prompts,
            positions=self.positions,
            max_logit_delta=self.worst,
            mean_kl=self.divergence / max(self.positions, 1),
            greedy_agreement=self.agreed / max(self.chosen, 1),
            same_continuations=self.same / max(self.prompts, 1),
            limit_logit_delta=limits.logit_delta,
            limit_greedy=limits.greedy,
        )


def require(agreement: Agreement, graph: Path, *, differing: Sequence[str] = ()) -> None:
    """ParityError (`weights`) unless the agreement holds; `differing` names constants that are not the trainer's."""
    if agreement.holds:
        return
    named = f"; not the trainer's: {', '.join(differing[:3])}" if differing else ""
    raise ParityError(
        f"the export's weights do not give the trainer's answers: max |Δlogit| {agreement.max_logit_delta:.2g} "
        f"(limit {agreement.limit_logit_delta}), greedy agreement {agreement.greedy_agreement:.1%} "
        f"(limit {agreement.limit_greedy:.1%}){named}",
        cause="weights",
        where=str(graph),
        remedy="Export the checkpoint again.",
    )


def _load_exported(folder: Path) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """The export's tokenizer as we read it and as any other program does."""
    try:
        return Tokenizer.load(folder), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except StudioError as error:
        where = error.where or str(folder)
        raise ParityError(error.what, cause="tokenizer", where=where, remedy=error.remedy) from error


def _check_template(
    trainer: Tokenizer, foreign: tokenizers.Tokenizer, folder: Path, conversations: Sequence[Conversation]
) -> None:
    where = str(folder / "tokenizer_config.json")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        raise ParityError("there is no chat template", cause="template", where=where)
    for messages in conversations:
        prompt = messages[-1]["role"] != "assistant"
        try:
            text = render_jinja(template, messages, prompt)
        except DataError as error:
            raise ParityError(error.what, cause="template", where=where) from error
        if foreign.encode(text, add_special_tokens=False).ids != render_chat(
            trainer, messages, add_generation_prompt=prompt
        ):
            raise ParityError(
                f"the chat template renders other ids than training used, as {text[:60]!r}",
                cause="template",
                where=where,
                remedy="Restore the chat template that the model was trained with.",
            )


def _agreed(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> int:
    """Positions where the candidate's best token is the trainer's, or as good to the trainer."""
    rows = np.arange(len(wanted))
    return int((wanted.max(1) - wanted[rows, found.argmax(1)] <= TIE_LOGITS).sum())


def _delta(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    delta = float(np.abs(wanted - found).max())
    return delta if np.isfinite(delta) else float(np.finfo(np.float32).max)  # JSON holds no NaN


def _kl(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL(wanted ‖ found) in nats at each position."""
    p, q = _log_softmax(wanted), _log_softmax(found)
    divergence: NDArray[np.float64] = np.nan_to_num((np.exp(p) * (p - q)).sum(axis=1), nan=1e3, posinf=1e3)
    return divergence


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result

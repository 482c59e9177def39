"""The gate's measures, and that it names what differs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.core.errors import IntegrityError, ParityError, ValidationFailure
from studio.core.fsio import atomic_write_json, read_json
from studio.nn.exported import Agreement, ParityReport, verify_export, write_parity
from studio.nn.parity import Limits, check_token_ids, compare, require
from studio.text.tokenizers import Tokenizer
from tests.inference.models import SENTENCES, small_tokenizer

CHATS = [[{"role": "system", "content": "be kind"}, {"role": "user", "content": text}] for text in SENTENCES]


class TableScorer:
    """The logits of a position depend on its token only."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table.astype(np.float32)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        return self.table[list(ids)]

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        results = []
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(tokens):
                ids.append(int(self.table[ids[-1]].argmax()))
            results.append(ids[len(prompt) :])
        return results


def table(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(20, 20))


def measure(other: np.ndarray, limits: Limits = Limits()) -> Agreement:  # noqa: B008  frozen
    prompts = [[n, n + 1] for n in range(16)]
    return compare(TableScorer(table()), {"x": (TableScorer(other), limits)}, prompts, 8)["x"]


def test_equal_sides_agree_wholly() -> None:
    agreement = measure(table())
    assert (agreement.max_logit_delta, agreement.greedy_agreement, agreement.same_continuations) == (0, 1, 1)
    assert agreement.mean_kl == pytest.approx(0, abs=1e-12)
    assert agreement.holds
    assert agreement.prompts == 16
    assert agreement.positions == 16 * 9


def test_a_shift_of_all_logits_moves_only_the_delta() -> None:
    agreement = measure(table() + 0.5)
    assert agreement.max_logit_delta == pytest.approx(0.5, abs=1e-6)
    assert agreement.mean_kl == pytest.approx(0, abs=1e-9)
    assert agreement.greedy_agreement == 1
    assert not agreement.holds
    assert measure(table() + 0.5, Limits(9.0, 0.98)).holds


def test_other_choices_lower_the_agreement() -> None:
    agreement = measure(table(1), Limits(9.0, 0.98))
    assert agreement.greedy_agreement < 0.5
    assert agreement.same_continuations < 0.5
    assert agreement.mean_kl > 0.1
    assert not agreement.holds


def test_what_the_trainer_holds_equal_may_fall_either_way() -> None:
    tied, other = table(), table()
    best = tied.argmax(1)
    tied[:, 7] = tied[np.arange(20), best]
    other[:, 7] = tied[:, 7] + 1e-5
    prompts = [[n] for n in range(7)]
    agreement = compare(TableScorer(tied), {"x": (TableScorer(other), Limits())}, prompts, 1)["x"]
    assert agreement.greedy_agreement == 1.0
    assert agreement.holds


def test_nan_never_passes() -> None:
    broken = table()
    broken[:, 3] = np.nan
    agreement = measure(broken)
    assert agreement.max_logit_delta > 1e30
    assert not agreement.holds


def test_a_failure_names_the_weights(tmp_path: Path) -> None:
    require(measure(table()), tmp_path)
    with pytest.raises(ParityError, match=r"not the trainer's: o0\.weight") as caught:
        require(measure(table(1)), tmp_path / "model.onnx", differing=["o0.weight"])
    assert caught.value.cause == "weights"
    assert caught.value.error_type == "validation_failure"


@pytest.fixture(scope="module")
def trainer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture
def folder(trainer: Tokenizer, tmp_path: Path) -> Path:
    trainer.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model_type", ["bpe", "unigram", "char", "word"])
def test_the_same_files_pass_for_every_type_of_tokenizer(tmp_path: Path, model_type: str) -> None:
    tokenizer = small_tokenizer(450, model_type)
    tokenizer.save(tmp_path)
    hard = ["  two  spaces ", "tabs\tand\nlines", "▁ <0x41> ¿ñ? 日本 🙂👍🏽", "a<|nothing|>b"]
    chats = [[{"role": "user", "content": text}] for text in hard]
    check_token_ids(tokenizer, tmp_path, [*SENTENCES, *hard], [*CHATS, *chats])


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_another_tokenizer_is_named(trainer: Tokenizer, folder: Path, model_type: str) -> None:
    small_tokenizer(330, model_type).save(folder)
    with pytest.raises(ParityError, match=r"tokenizer\.json: the export's tokenizer gives other ids") as caught:
        check_token_ids(trainer, folder, SENTENCES, CHATS)
    assert caught.value.cause == "tokenizer"


def test_a_broken_tokenizer_file_is_named(trainer: Tokenizer, folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:-50])
    with pytest.raises(ParityError, match=r"tokenizer\.json") as caught:
        check_token_ids(trainer, folder, SENTENCES, CHATS)
    assert caught.value.cause == "tokenizer"


@pytest.mark.parametrize(
    "change",
    [
        lambda template: template.replace("<|end|>", "<|eos|>"),
        lambda template: template.replace("'<|bos|>'", "''"),
        lambda template: template.replace("message['content']", "' ' + message['content']"),
        lambda template: template[:-8],
        lambda _: None,
    ],
    ids=["end token", "no bos", "a space", "cut off", "none"],
)
def test_a_changed_template_is_named(trainer: Tokenizer, folder: Path, change: object) -> None:
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    config["chat_template"] = change(config["chat_template"])  # type: ignore[operator]
    atomic_write_json(path, config)
    with pytest.raises(ParityError, match=r"template") as caught:
        check_token_ids(trainer, folder, SENTENCES, CHATS)
    assert caught.value.cause == "template"


def test_a_verdict_is_read_back_and_guards_its_files(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"graph")
    report = ParityReport("model.onnx", {"model.onnx": measure(table())}, 5, 5, "ab")
    written = write_parity(folder, report)
    assert written == replace(report, files=written.files) == verify_export(folder)
    assert set(written.files) == {path.name for path in folder.iterdir()} - {"parity.json"}
    (folder / "model.onnx").write_bytes(b"grapH")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        verify_export(folder)


def test_a_folder_without_verdict_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationFailure, match="parity gate"):
        verify_export(folder)

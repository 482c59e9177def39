import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.config.text import TokenizerConfig
from studio.core.errors import ConfigError, DataError, IntegrityError, NotFoundError, TransitionError, UsageError
from studio.text.tokenizers import (
    SPECIAL_TOKENS,
    SPECIALS,
    TOKENIZER_STATES,
    Tokenizer,
    TokenizerState,
    train_tokenizer,
)
from tests.text.conftest import KINDS
from tests.text.sample import paragraphs

HARD = [
    "",
    " ",
    "  two  spaces   three ",
    "\n\nlines\r\n\ttabs\u2028\u2029\x85",
    "▁ ▁▁ \ue000 \ue0000 \ue0001 \ue000▁ ▁0 ▁1",
    "<0x41> <<0x41>> <0x 0x41> <0xE2><0x96>",
    "<|user|> <|bos|><|end|> <| user |> x<|eos|>y <|pad|",
    "日本語 ▂ 🧑‍🚀 é é \x00 \x7f \ufeff \U0010ffff",
    "a" * 5000,
]
ANY_TEXT = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("▁\ue00001<|x>4 \n")))


def small(**changes: object) -> TokenizerConfig:
    return TokenizerConfig.model_validate({"model_type": "bpe", "vocab_size": 300, **changes})


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_survive(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, text]) == [ids, ids]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_survives(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    tokenizer = trained[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(index >= len(SPECIAL_TOKENS) for index in ids)
    assert tokenizer.lossless
    assert tokenizer.byte_lengths[ids].sum() >= len(text.encode())


def test_bytes_per_token_add_up(tokenizer: Tokenizer) -> None:
    text = " ".join(paragraphs(20)) + " 日本 <0x41>"
    assert tokenizer.byte_lengths.dtype == np.int32
    assert tokenizer.byte_lengths.shape == (tokenizer.vocab_size,)
    assert tokenizer.byte_lengths[tokenizer.encode(text)].sum() == len(text.encode())
    assert not tokenizer.byte_lengths[: len(SPECIAL_TOKENS)].any()


def test_special_tokens_have_their_ids(tokenizer: Tokenizer) -> None:
    assert [tokenizer.vocab[token] for token in SPECIALS.values()] == list(range(8))
    assert tokenizer.special_tokens == {name: index for index, name in enumerate(SPECIALS)}
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert (tokenizer.system_id, tokenizer.user_id, tokenizer.assistant_id, tokenizer.end_id) == (4, 5, 6, 7)


def test_typed_special_tokens_stay_text(tokenizer: Tokenizer) -> None:
    for token in SPECIAL_TOKENS:
        ids = tokenizer.encode(f"{token} a{token}b")
        assert min(ids) >= len(SPECIAL_TOKENS)
        assert tokenizer.decode(ids) == f"{token} a{token}b"


def test_training_text_full_of_special_tokens_teaches_none() -> None:
    texts = ["<|user|> <0x41> " * 50] * 20
    for kind in KINDS:
        tokenizer = train_tokenizer(texts, small(model_type=kind, vocab_size=330))
        assert min(tokenizer.encode(texts[0])) >= len(SPECIAL_TOKENS)
        assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]


def test_decode_writes_special_tokens_when_asked(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode("yes"), tokenizer.end_id]
    assert tokenizer.decode(ids) == "yes"
    assert tokenizer.decode(ids, skip_special=False) == "<|bos|>yes<|end|>"


def test_unknown_id_is_refused(tokenizer: Tokenizer) -> None:
    for index in (-1, tokenizer.vocab_size):
        with pytest.raises(
            UsageError, match=f"token id {index} is outside of the vocabulary of {tokenizer.vocab_size}"
        ):
            tokenizer.decode([index])


def test_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    for call in (lambda: tokenizer.encode("ab\ud800"), lambda: tokenizer.encode_batch(["fine", "ab\ud800"])):
        with pytest.raises(DataError, match="lone surrogate at character 2"):
            call()
    with pytest.raises(DataError, match="training text holds a lone surrogate"):
        train_tokenizer(["ab\udfff"], small())


@pytest.mark.parametrize("text", ["▁ x \ue000y 日本語 🧑‍🚀", "plain words, and más", "\ue000"])
def test_stream_gives_the_same_text_in_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    parts = [stream.push(index) for index in tokenizer.encode(text)]
    assert "".join(parts) + stream.flush() == text
    assert not any("\ufffd" in part for part in parts)


def test_stream_of_half_a_character_ends_in_a_replacement(trained: dict[str, Tokenizer]) -> None:
    for kind in ("unigram", "char", "word"):
        tokenizer = trained[kind]
        stream = tokenizer.stream()
        half = tokenizer.encode("日")[:2]
        assert stream.push_many(half) == ""
        assert stream.flush() == tokenizer.decode(half) == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_vocab_size_is_exact_or_says_why_not(kind: str) -> None:
    exact = train_tokenizer(paragraphs(200), small(model_type=kind, vocab_size=300))
    assert exact.vocab_size == len(exact.vocab) == len(exact.vocab_inverse) == 300
    assert exact.shortfall == ""
    short = train_tokenizer(["one two three " * 3], small(model_type=kind, vocab_size=5000))
    assert short.vocab_size < 5000
    assert short.shortfall.startswith(f"the text only yields {short.vocab_size} tokens of type {kind}, 5000 were asked")


def test_training_gives_the_same_tokenizer_every_time(trained: dict[str, Tokenizer]) -> None:
    for kind, first in trained.items():
        again = train_tokenizer(iter(paragraphs(200)), small(model_type=kind, vocab_size=420))
        assert again.sha256 == first.sha256


def test_more_text_than_max_train_mb_is_sampled() -> None:
    texts = ["alpha beta gamma " * 100, "delta epsilon zeta " * 100, "eta theta iota " * 100]
    whole = train_tokenizer(texts, small(vocab_size=320))
    part = train_tokenizer(texts, small(vocab_size=320, max_train_mb=0.0018))
    assert part.sha256 == train_tokenizer(texts, small(vocab_size=320, max_train_mb=0.0018)).sha256
    learned = [sum(len(piece) > 3 for piece in tokenizer.token_bytes) for tokenizer in (whole, part)]
    assert learned[1] < learned[0]


@pytest.mark.parametrize("kind", ["unigram", "char", "word"])
def test_without_bytes_it_says_what_is_lost(kind: str) -> None:
    tokenizer = train_tokenizer(paragraphs(50), small(model_type=kind, vocab_size=200, byte_fallback=False))
    assert not tokenizer.lossless
    assert tokenizer.lossless_reason == (f"{kind} without byte_fallback: what is not in the vocabulary becomes <|unk|>")
    ids = tokenizer.encode("日")
    assert tokenizer.unk_id in ids
    assert tokenizer.decode(ids) != "日"
    known = paragraphs(1)[0]
    assert kind == "word" or tokenizer.decode(tokenizer.encode(known)) == known


def test_room_for_bytes_is_checked() -> None:
    with pytest.raises(ConfigError, match="vocab_size 200 is too small: 8 special tokens and 256 bytes need") as caught:
        train_tokenizer(["text"], small(vocab_size=200))
    assert caught.value.key == "tokenizer.vocab_size"


def test_no_text_is_refused() -> None:
    for texts in ([], ["", "  \n"]):
        with pytest.raises(DataError, match="there is no text to train a tokenizer on"):
            train_tokenizer(texts, small())


# -- states and files -------------------------------------------------------------------------------------------------


def test_states_follow_001() -> None:
    order = list(TokenizerState)
    assert [str(state) for state in order] == ["Untrained", "Training", "Trained", "Loaded"]
    for current in order:
        for wanted in order:
            if order.index(wanted) == order.index(current) + 1:
                assert TOKENIZER_STATES.check(current, wanted) is wanted
            else:
                with pytest.raises(TransitionError, match=f"tokenizer is {current}, it cannot become {wanted}"):
                    TOKENIZER_STATES.check(current, wanted)


def test_a_tokenizer_goes_through_its_states(tmp_path: Path) -> None:
    tokenizer = Tokenizer()
    assert tokenizer.state is TokenizerState.UNTRAINED
    with pytest.raises(UsageError, match="tokenizer is Untrained"):
        tokenizer.encode("x")
    during = []

    def texts() -> Iterator[str]:
        during.append(tokenizer.state)
        yield from paragraphs(30)

    tokenizer.train(texts(), small())
    assert during == [TokenizerState.TRAINING]
    assert tokenizer.state is TokenizerState.TRAINED
    with pytest.raises(TransitionError, match="tokenizer is Trained, it cannot become Training"):
        tokenizer.train(paragraphs(3), small())
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).state is TokenizerState.LOADED


def test_files_come_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    loaded = Tokenizer.load(tmp_path)
    for name in ("sha256", "vocab", "vocab_inverse", "merges", "model_type", "byte_fallback", "requested_vocab_size"):
        assert getattr(loaded, name) == getattr(tokenizer, name)
    assert loaded.encode("Llevó <|user|> ▁") == tokenizer.encode("Llevó <|user|> ▁")
    assert "chat_template" in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_bpe_merges_are_pairs_of_known_tokens(trained: dict[str, Tokenizer]) -> None:
    bpe = trained["bpe"]
    assert bpe.merges
    assert all({left, right, left + right} <= bpe.vocab.keys() for left, right in bpe.merges)
    assert trained["unigram"].merges == []


def test_missing_tokenizer_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)


def _swap_ids(document: dict) -> None:  # type: ignore[type-arg]
    document["model"]["vocab"]["<|bos|>"], document["model"]["vocab"]["<|eos|>"] = 1, 0


def _repeat_an_id(document: dict) -> None:  # type: ignore[type-arg]
    document["model"]["vocab"]["!"] = document["model"]["vocab"]['"']


def _drop_end(document: dict) -> None:  # type: ignore[type-arg]
    vocab = document["model"]["vocab"]
    last = max(vocab, key=vocab.get)
    vocab[last] = vocab.pop("<|end|>")


def _strange_merge(document: dict) -> None:  # type: ignore[type-arg]
    document["model"]["merges"].append(["q", "zz"])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_swap_ids, "special token <|bos|> must have id 0, has 1"),
        (_repeat_an_id, "the ids of the vocabulary are not 0, 1, 2"),
        (_drop_end, "special token <|end|> must have id 7, has None"),
        (_strange_merge, "merge 'q' + 'zz' is not in the vocabulary"),
        (lambda document: document.pop("model"), "not a tokenizer"),
    ],
)
def test_inconsistent_files_are_refused(trained: dict[str, Tokenizer], tmp_path: Path, harm, says: str) -> None:  # type: ignore[no-untyped-def]
    trained["bpe"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text())
    harm(document)
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError) as caught:
        Tokenizer.load(tmp_path)
    assert says in caught.value.what
    assert caught.value.where == str(path)


def test_twice_named_token_is_refused(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    trained["unigram"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["vocab"].append(document["model"]["vocab"][-1])
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="names a token twice"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 5000])
def test_harmed_files_are_refused(trained: dict[str, Tokenizer], tmp_path: Path, name: str, content: bytes) -> None:
    trained["bpe"].save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.where == str(tmp_path / name)

"""Text at speed: reading, cleaning, duplicates, tokenizer training, encoding and shards on one folder.

    python -m benchmarks.text CORPUS [--rounds 3]

CORPUS is any folder of texts. Each line is the best of the rounds, in seconds of wall clock and as MB of text per
second. Two lines are there for comparison: the `tokenizers` library's own unigram trainer beside ours (ours gives
the same vocabulary every time, the library's does not), and datasketch's MinHash, where it is installed, beside our
duplicates.
"""

import argparse
import importlib.util
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from studio.config.text import CleaningConfig, DataConfig, DataSource, DedupConfig, TokenizerConfig
from studio.text.cleaning import clean
from studio.text.dedup import Deduplicator
from studio.text.documents import CorpusReport, Document, read_documents
from studio.text.shards import build_token_dataset
from studio.text.tokenizers import train_tokenizer
from studio.text.vocabularies import PIECES

VOCAB_SIZE = 8000


def best(rounds: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def library_unigram(texts: list[str]) -> None:
    """The same pieces of text, learned from by the library."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.Metaspace(prepend_scheme="never", split=False)]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(texts, trainer)


def datasketch_dedup(texts: list[str]) -> None:
    """What `Deduplicator` does, with datasketch."""
    from datasketch import MinHash, MinHashLSH

    found = MinHashLSH(threshold=0.85, num_perm=128)
    for number, text in enumerate(texts):
        words = re.findall(r"\w+", text.casefold())
        signature = MinHash(num_perm=128)
        signature.update_batch([" ".join(words[at : at + 5]).encode() for at in range(len(words) - 4)])
        if not found.query(signature):
            found.insert(number, signature)


def ours_dedup(documents: list[Document]) -> None:
    """Exact and near-duplicates."""
    keep = Deduplicator(DedupConfig())
    for document in documents:
        keep.keep(document)


def config(kind: str) -> TokenizerConfig:
    """One type at the benchmark's size."""
    return TokenizerConfig.model_validate({"model_type": kind, "vocab_size": VOCAB_SIZE})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    def read() -> list[Document]:
        return list(read_documents(options.corpus, report=CorpusReport()))

    cleaning = CleaningConfig()
    documents = [replace(document, text=clean(document.text, cleaning)) for document in read()]
    texts = [document.text for document in documents]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rows: list[tuple[str, Callable[[], object]]] = [
        ("read", read),
        ("clean", lambda: [clean(text, cleaning) for text in texts]),
        ("duplicates", lambda: ours_dedup(documents)),
    ]
    if importlib.util.find_spec("datasketch"):
        rows.append(("duplicates, datasketch", lambda: datasketch_dedup(texts)))
    rows += [
        (f"train {kind}", lambda kind=kind: train_tokenizer(texts, config(kind)))  # type: ignore[misc]
        for kind in ("unigram", "bpe", "word", "char")
    ]
    rows.append(("train unigram, library", lambda: library_unigram(texts)))
    tokenizer = train_tokenizer(texts, config("unigram"))
    rows += [
        ("encode", lambda: tokenizer.encode_batch(texts)),
        ("decode", lambda: tokenizer.decode(ids)),
        ("shards", lambda: shards()),
    ]
    ids = [index for encoded in tokenizer.encode_batch(texts) for index in encoded]

    def shards() -> None:
        data = DataConfig.model_validate({"shard_tokens": 250_000})
        with tempfile.TemporaryDirectory() as folder:
            build_token_dataset(
                documents, tokenizer, Path(folder), data, sources=[DataSource(path=str(options.corpus))]
            )

    print(f"{megabytes:.2f} MB, {len(texts)} documents, {len(ids):,} unigram tokens\n")
    print(f"{'':24} {'s':>8} {'MB/s':>8}")
    for name, work in rows:
        seconds = best(options.rounds, work)
        print(f"{name:24} {seconds:8.3f} {megabytes / seconds:8.1f}")


if __name__ == "__main__":
    main()

"""Run as a program: builds a dataset from the sample text and kills itself at the n-th write to a shard file."""

import os
import signal
import sys
from pathlib import Path

from studio.config.text import DataConfig, DataSource
from studio.text import shard_files
from studio.text.documents import Document
from studio.text.shards import TokenDataset, build_token_dataset
from studio.text.tokenizers import Tokenizer
from tests.text.sample import paragraphs

DATA = DataConfig.model_validate({"shard_tokens": 1000, "validation_fraction": 0.1, "workers": 2})
SOURCES = [DataSource(path="sample")]


def documents(count: int = 300) -> list[Document]:
    """The sample text, one paragraph each."""
    return [Document(f"p{number}", text, source="sample") for number, text in enumerate(paragraphs(count))]


def build(tokenizer: Tokenizer, folder: Path) -> TokenDataset:
    """What the killed process and the one that goes on after it both do."""
    return build_token_dataset(documents(), tokenizer, folder, DATA, sources=SOURCES)


def main(tokenizer: str, folder: str, writes: str) -> None:
    """Die by SIGKILL in the middle of the n-th write."""
    left = int(writes)
    write = shard_files._HashedFile.write

    def fatal(file: shard_files._HashedFile, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            write(file, data[: len(data) // 2])
            file._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, data)

    shard_files._HashedFile.write = fatal  # type: ignore[method-assign]
    build(Tokenizer.load(Path(tokenizer)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Which documents are held out for validation.

A document belongs to training or validation by the hash of its id and a seed, wherever it stands and whatever else
the corpus holds. It knows ids and no texts.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Splitter:
    """Training or validation, by the hash of a document's id."""

    seed: int
    threshold: float
    """Documents whose hash, as a number in [0, 1), is below it are for validation."""

    @classmethod
    def over(cls, ids: Iterable[str], fraction: float, seed: int) -> "Splitter":
        """About `fraction` of the documents for validation: at least one if there are two, and never all of them."""
        splitter = cls(seed, fraction)
        least, most, count = 1.0, 0.0, 0
        for document_id in ids:
            place = splitter.place(document_id)
            least, most, count = min(least, place), max(most, place), count + 1
        if fraction <= 0 or count < 2:
            return cls(seed, 0.0)
        return cls(seed, min(max(fraction, float(np.nextafter(least, 1.0))), most))

    def place(self, document_id: str) -> float:
        """The hash as a number in [0, 1)."""
        digest = hashlib.sha256(f"{self.seed}\0{document_id}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def split(self, document_id: str) -> Split:
        """Where the document belongs."""
        return "validation" if self.place(document_id) < self.threshold else "train"

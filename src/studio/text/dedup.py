"""Documents that were seen before: exactly (white space aside), or nearly (MinHash over word shingles).

Signatures are computed here with numpy: 32-bit minima of `num_perm` hash functions, in bands whose number and width
make `threshold` the similarity at which a pair is about as likely found as not; a found pair counts when its
estimated similarity reaches the threshold. It holds hashes and signatures of what it kept, never texts.
"""

import hashlib
import re
import zlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from studio.config.text import DedupConfig

_WORD = re.compile(r"\w+")


class HasText(Protocol):
    """What is compared."""

    @property
    def text(self) -> str:
        """The whole text."""
        ...


class Deduplicator:
    """Asked about one document after the other; remembers those it kept. Deterministic for a given order and config."""

    def __init__(self, cfg: "DedupConfig") -> None:
        self.cfg = cfg
        self.exact_dropped = 0
        self.near_dropped = 0
        self._seen: set[bytes] = set()
        self._bands, self._width = _banding(cfg.num_perm, cfg.threshold)
        self._tables: list[dict[bytes, list[int]]] = [{} for _ in range(self._bands)]
        self._signatures: list[NDArray[np.uint32]] = []
        rng = np.random.default_rng(cfg.seed)
        # odd multipliers, so that each is a permutation of 64 bits before the upper half is taken
        self._multiply = rng.integers(1, 1 << 63, size=cfg.num_perm, dtype=np.uint64) | np.uint64(1)
        self._add = rng.integers(0, 1 << 63, size=cfg.num_perm, dtype=np.uint64)

    @property
    def dropped(self) -> int:
        """Documents that `keep` refused so far."""
        return self.exact_dropped + self.near_dropped

    def keep(self, document: HasText) -> bool:
        """False when `document` repeats one that was kept."""
        words = _WORD.findall(document.text.casefold())
        if self.cfg.exact and not self._is_new(document.text):
            self.exact_dropped += 1
            return False
        if self.cfg.near and len(words) >= max(self.cfg.min_words, self.cfg.shingle_words) and self._is_near(words):
            self.near_dropped += 1
            return False
        return True

    def _is_new(self, text: str) -> bool:
        digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = len(self._seen)
        self._seen.add(digest)
        return len(self._seen) > known

    def _is_near(self, words: list[str]) -> bool:
        signature = self._signature(words)
        keys = [signature[band * self._width : (band + 1) * self._width].tobytes() for band in range(self._bands)]
        candidates = {number for table, key in zip(self._tables, keys, strict=True) for number in table.get(key, ())}
        for number in candidates:
            if np.count_nonzero(self._signatures[number] == signature) >= self.cfg.threshold * self.cfg.num_perm:
                return True
        for table, key in zip(self._tables, keys, strict=True):
            table.setdefault(key, []).append(len(self._signatures))
        self._signatures.append(signature)
        return False

    def _signature(self, words: list[str]) -> NDArray[np.uint32]:
        """uint32, (num_perm,): the least value of each hash function over all shingles."""
        hashes = np.unique(_shingles(words, self.cfg.shingle_words))
        least = np.full(self.cfg.num_perm, np.iinfo(np.uint32).max, dtype=np.uint32)
        for start in range(0, len(hashes), 1024):  # (1024, num_perm) at a time keeps it in the cache
            block = hashes[start : start + 1024, None] * self._multiply + self._add
            least = np.minimum(least, (block >> np.uint64(32)).astype(np.uint32).min(axis=0))
        return least


def _shingles(words: list[str], width: int) -> NDArray[np.uint64]:
    """A 64-bit hash of every run of `width` words, rolled from the words' own hashes."""
    single = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    single *= np.uint64(0x9E3779B97F4A7C15)
    rolled = np.zeros(len(words) - width + 1, dtype=np.uint64)
    for place in range(width):
        rolled = rolled * np.uint64(0x100000001B3) ^ single[place : place + len(rolled)]
    return rolled ^ (rolled >> np.uint64(29))


def _banding(num_perm: int, threshold: float) -> tuple[int, int]:
    """(bands, width) with bands × width ≤ num_perm, found at a similarity a bit below `threshold`:
    (1/bands)^(1/width).
    """
    options = [(num_perm // width, width) for width in range(1, num_perm + 1)]
    below = [(bands, width) for bands, width in options if (1 / bands) ** (1 / width) <= threshold - 0.1]
    return below[-1] if below else (num_perm, 1)

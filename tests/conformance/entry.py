"""One line of the conformance ledger: what a spec asks, where it is built, which test shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Kept by hand in `entries/<room>.py`; `test_conformance.py` fails when `built` or `test` points to nothing."""

    spec: str
    """Document and item as `required.py` names it: "001 ModelConfig.vocab_size"."""
    line: int
    """Line of the spec document, from 1."""
    what: str
    """What it asks, in our words; names the item where several stand on one line."""
    built: str
    """"package.module:Name.attribute" (several attributes deep at will), or the path of a file in the repository."""
    test: str
    """"tests/room/test_file.py::test_name", or ::TestClass::test_name."""

    @property
    def document(self) -> str:
        """The spec's number: "001"."""
        return self.spec.split(" ", 1)[0]

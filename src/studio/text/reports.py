"""What was found while reading a corpus: per file its size, encoding and documents, and every problem with its remedy.

It only records; what to do about a problem is the reader's business.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from studio.core.errors import DataError

Severity = Literal["note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was not as it should be. `note`: read as it is; `warning`: repaired; `error`: left out."""

    file: str
    place: str
    what: str
    remedy: str
    severity: Severity

    def __str__(self) -> str:
        where = f"{self.file}, {self.place}" if self.place else self.file
        return f"{where}: {self.what}." + (f" {self.remedy}" if self.remedy else "")


@dataclass(slots=True)
class FileReport:
    """One file of a corpus. `path` is relative to the corpus folder; `encoding` is "" for a refused or binary file."""

    path: str
    bytes: int
    documents: int = 0
    encoding: str = ""
    converted: bool = False
    problems: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """What manifests keep."""
        return asdict(self)

    @property
    def refused(self) -> bool:
        """Whether the file gave no document because of an error."""
        return not self.documents and any(problem.severity == "error" for problem in self.problems)


@dataclass(slots=True)
class CorpusReport:
    """Filled by `read_documents` as it goes; complete when its iterator is exhausted."""

    files: list[FileReport] = field(default_factory=list)
    strict: bool = False
    _ids: set[str] = field(default_factory=set, repr=False)

    @property
    def problems(self) -> list[Problem]:
        """The problems of all files, in reading order."""
        return [problem for file in self.files for problem in file.problems]

    @property
    def documents(self) -> int:
        """Documents read."""
        return sum(file.documents for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files, refused ones included."""
        return sum(file.bytes for file in self.files)

    def add(self, file: FileReport, place: str, what: str, remedy: str = "", severity: Severity = "error") -> None:
        """Record a problem. DataError instead when `strict` and it is an error."""
        if self.strict and severity == "error":
            where = f"{file.path}, {place}" if place else file.path
            raise DataError(what, where=where, remedy=remedy)
        file.problems.append(Problem(file.path, place, what, remedy, severity))

    def unique_id(self, wanted: str) -> str:
        """`wanted`, or `wanted~2`, `wanted~3` … when a document before has it."""
        unique, number = wanted, 1
        while unique in self._ids:
            number += 1
            unique = f"{wanted}~{number}"
        self._ids.add(unique)
        return unique

    def to_dict(self) -> dict[str, Any]:
        """What manifests keep."""
        return {"documents": self.documents, "bytes": self.bytes, "files": [file.to_dict() for file in self.files]}

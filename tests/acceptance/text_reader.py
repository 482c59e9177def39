"""Run as a program: reads a corpus and prints documents, characters and the peak memory that reading took (bytes)."""

import resource
import sys
from pathlib import Path

from studio.text.documents import CorpusReport, read_documents


def main(folder: str) -> None:
    """One line: documents, characters, bytes of peak memory above that of the start."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = CorpusReport()
    characters = sum(len(document.text) for document in read_documents(Path(folder), report=report))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(report.documents, characters, (after - before) * 1024)


if __name__ == "__main__":
    main(sys.argv[1])

"""The Python API: `open_studio(home)` gives everything that pages, command line and API call. Opening loads nothing
heavy.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from studio.core.paths import Home, open_home
from studio.jobs.local import LocalLauncher
from studio.services.bookkeeping import Bookkeeping
from studio.services.models import ModelService
from studio.services.pipelines import PipelineService

if TYPE_CHECKING:
    from studio.services.corpora import CorpusService
    from studio.services.tokenizers import TokenizerService
    from studio.services.training import TrainingService


class Studio:
    """All services over one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._launcher = LocalLauncher()
        self._books = Bookkeeping(home)
        self.pipelines = PipelineService(home, self._launcher, self._books)
        self.models = ModelService(home, self.pipelines)

    @cached_property
    def training(self) -> TrainingService:
        from studio.services.training import TrainingService

        return TrainingService(self.home, self._launcher, self.models)

    @cached_property
    def tokenizers(self) -> TokenizerService:
        from studio.services.tokenizers import TokenizerService

        return TokenizerService(self.home, self.models)

    @cached_property
    def corpora(self) -> CorpusService:
        from studio.services.corpora import CorpusService

        return CorpusService(self.home)


def open_studio(root: str | os.PathLike[str] | None = None) -> Studio:
    """The home at `root` (default: STUDIO_HOME, else `outputs`), made when it does not exist."""
    return Studio(open_home(root))

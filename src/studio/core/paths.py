"""Where things lie, and the one way a name becomes a path.

`Home` is Studio's folder; nothing is written outside it. `safe_child` turns names that a user or a file gave us into a
path below a root, or refuses.
"""

import os
from pathlib import Path

from studio.core.errors import UsageError

_MAX_NAME_BYTES = 255
_DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10))}


class Home:
    """The folders of one Studio home. They are named here and made by whoever writes into them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "studio.json"
        self.pipelines = root / "pipelines"
        self.stages = root / "stages"
        self.tokenizers = root / "tokenizers"
        self.corpora = root / "corpora"
        self.models = root / "models"
        self.logs = root / "logs"
        self.cache = root / "cache"

    def __repr__(self) -> str:
        return f"Home({str(self.root)!r})"


def open_home(root: str | os.PathLike[str] | None = None) -> Home:
    """The home at `root`, else at $STUDIO_HOME, else at ./outputs; created for its owner only (0700).

    UsageError when something that is no folder stands there or it cannot be made.
    """
    path = Path(root or os.environ.get("STUDIO_HOME") or "outputs").expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"cannot make the home folder: {error.strerror}",
            where=str(path),
            remedy="Set STUDIO_HOME to a folder you may write to.",
        ) from error
    return Home(path)


def safe_child(root: Path, *names: str) -> Path:
    """`root / names[0] / names[1] ...`, where every name is one plain file name.

    Refuses (UsageError) separators, `..`, absolute paths, control characters, names that some system reserves or cannot
    hold (over 255 bytes), and a link that leads out of `root`. The path need not exist.
    """
    if not names:
        raise UsageError("no name given", where=str(root))
    for name in names:
        problem = _problem(name)
        if problem:
            raise UsageError(f"{name[:80]!r} {problem}", where="name", remedy="Use a plain file name.")
    child = root.joinpath(*names)
    resolved_root = root.resolve()
    if not child.resolve().is_relative_to(resolved_root):
        raise UsageError(f"{'/'.join(names)[:80]!r} leads out of {resolved_root}", where="name")
    return child


def _problem(name: str) -> str:
    """Why `name` cannot be one path component, or ""."""
    if name in ("", ".", ".."):
        return "is not a file name"
    if "/" in name or "\\" in name:
        return "contains a path separator"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "contains a control character"
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size_bytes > _MAX_NAME_BYTES:
        return f"is longer than {_MAX_NAME_BYTES} bytes"
    if name.split(".")[0].strip().lower() in _DEVICE_NAMES or name[-1] in ". ":
        return "is reserved on some systems"
    return ""

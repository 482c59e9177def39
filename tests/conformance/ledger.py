"""The ledger as a whole: gathers the entries of every room, checks where they point, and finds what is missing."""

import ast
import functools
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.conformance import entries as rooms
from tests.conformance.entry import Entry
from tests.conformance.required import REQUIRED, Item

ROOT = Path(__file__).resolve().parents[2]


def all_entries() -> list[Entry]:
    """The entries of every `entries/<room>.py`, room by room."""
    found: list[Entry] = []
    for module in sorted(pkgutil.iter_modules(rooms.__path__), key=lambda module: module.name):
        found += importlib.import_module(f"{rooms.__name__}.{module.name}").ENTRIES
    return found


def missing(entries: Sequence[Entry], required: Iterable[Item] = REQUIRED) -> list[Item]:
    """The items that no entry covers.

    An entry covers the item that it names. Standing on an item's line also counts, where the item is alone there or the
    entry's text has the item's own word.
    """
    required = list(required)
    on_line: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in required:
        on_line[item.document, item.line].append(item)
    named = {entry.spec for entry in entries}
    texts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for entry in entries:
        texts[entry.document, entry.line].append(f"{entry.spec} {entry.what}".lower())

    def covered(item: Item) -> bool:
        place = item.document, item.line
        here = texts[place]
        alone = len(on_line[place]) == 1
        return item.id in named or any(alone or item.word in text for text in here)

    return [item for item in required if not covered(item)]


def broken_pointers(entry: Entry) -> list[str]:
    """What is wrong with where the entry points."""
    problems = []
    if not _is_built(entry.built):
        problems.append(f"{entry.spec}: built nowhere: {entry.built}")
    if not _is_test(entry.test):
        problems.append(f"{entry.spec}: no such test: {entry.test}")
    return problems


def _is_built(place: str) -> bool:
    module, colon, names = place.partition(":")
    if not colon:
        return (ROOT / place).exists()
    # read, not imported: a ledger must not load torch, and a field without a value is no attribute
    file = ROOT / "src" / Path(*module.split("."))
    source = next((path for path in (file.with_suffix(".py"), file / "__init__.py") if path.exists()), None)
    return source is not None and (not names or _has_name(_tree(source), names.split(".")))


def _is_test(place: str) -> bool:
    path, *names = place.split("::")
    source = ROOT / path
    if not names or not source.is_file():
        return False
    return names[-1].partition("[")[0].startswith("test_") and _has_name(
        _tree(source), [name.partition("[")[0] for name in names]
    )


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _has_name(tree: ast.Module | ast.ClassDef, names: Sequence[str]) -> bool:
    """Whether the names lead into each other; a name that a class inherits from a class in the same file counts."""
    return _found(tree, tree, names)


def _found(scope: ast.Module | ast.ClassDef, module: ast.Module | ast.ClassDef, names: Sequence[str]) -> bool:
    for node in _statements(scope):
        if names[0] in _names_of(node):
            if len(names) == 1:
                return True
            if isinstance(node, ast.ClassDef):
                return _found(node, module, names[1:])
            return _assigned_in(node, names[1])  # self.name = ... inside a function, or an annotated value
    return isinstance(scope, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id != scope.name and _found(module, module, [base.id, *names])
        for base in scope.bases
    )


def _statements(scope: ast.Module | ast.ClassDef) -> Iterable[ast.stmt]:
    """The statements of a scope, looking into `if` and `try`."""
    queue = list(scope.body)
    while queue:
        node = queue.pop(0)
        yield node
        if isinstance(node, ast.If | ast.Try):
            queue = [*node.body, *node.orelse, *queue]
        if isinstance(node, ast.FunctionDef) and isinstance(scope, ast.ClassDef) and node.name == "__init__":
            queue = [*(inner for inner in ast.walk(node) if isinstance(inner, ast.Assign | ast.AnnAssign)), *queue]


def _names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return names | {target.attr for target in targets if isinstance(target, ast.Attribute)}


def _assigned_in(node: ast.stmt, name: str) -> bool:
    return any(
        isinstance(inner, ast.Name | ast.Attribute | ast.Constant) and name in _texts(inner) for inner in ast.walk(node)
    )


def _texts(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    return {str(node.value)} if isinstance(node, ast.Constant) else set()

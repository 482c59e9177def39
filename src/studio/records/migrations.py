"""How an old store file opens in a new version: numbered functions, applied in order, never edited, only added to.

Migration number n turns the tables of schema n - 1 into those of schema n. It gets `{table: {id: record}}` and changes
it in place; it uses plain dicts and no entity, because entities go on changing and a migration must not.
"""

from collections.abc import Callable, Sequence
from typing import Any

Tables = dict[str, dict[str, dict[str, Any]]]
Migration = Callable[[Tables], None]

MIGRATIONS: tuple[Migration, ...] = ()
"""Schema 0 is the first; append the function that leads to the next one."""


def migrate(tables: Tables, schema: int, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring `tables` from `schema` to the newest one, in place; the number of the newest."""
    for step in migrations[schema:]:
        step(tables)
    return len(migrations)

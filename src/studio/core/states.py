"""Lifecycles: which state may follow which.

A `TransitionTable` is the only judge of a state change; it holds no state itself and knows nothing of what it judges.
"""

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from studio.core.errors import TransitionError

S = TypeVar("S", bound=str)


class TransitionTable(Generic[S]):
    """The legal moves of one kind of thing. `edges` names every state as a key; a final one maps to nothing."""

    def __init__(self, kind: str, initial: S, edges: Mapping[S, Collection[S]]) -> None:
        self.kind = kind
        self.initial = initial
        self._edges: dict[S, tuple[S, ...]] = {state: tuple(following) for state, following in edges.items()}
        named = {initial, *(state for following in self._edges.values() for state in following)}
        missing = named - self._edges.keys()
        assert not missing, f"{kind}: states without a row of their own: {sorted(missing)}"

    @property
    def states(self) -> tuple[S, ...]:
        """Every state, in the order of the table."""
        return tuple(self._edges)

    def allowed(self, current: S) -> tuple[S, ...]:
        """The states that may follow `current`; TransitionError when `current` is no state of this table."""
        if current not in self._edges:
            raise TransitionError(f"{self.kind} has no state {current}; states: {_listed(self.states)}")
        return self._edges[current]

    def check(self, current: S, wanted: S) -> S:
        """`wanted`, when it may follow `current`; TransitionError naming both and what is allowed otherwise."""
        allowed = self.allowed(current)
        if wanted not in allowed:
            raise TransitionError(f"{self.kind} is {current}, it cannot become {wanted}; allowed: {_listed(allowed)}")
        return allowed[allowed.index(wanted)]


def _listed(states: Collection[str]) -> str:
    # a StrEnum member prints as its value, so tables of enums and of plain strings read alike
    return ", ".join(str(state) for state in states) or "none"

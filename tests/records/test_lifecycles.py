"""Every pair of states of every lifecycle, against the legal moves as the specs list them."""

import subprocess
import sys
from enum import StrEnum
from typing import Any

import pytest

from studio.core.errors import TransitionError
from studio.core.states import TransitionTable
from studio.records import lifecycles

LEGAL: dict[str, str] = {  # a + stands for the space in a name
    "PROJECT": "ACTIVE>ARCHIVED ACTIVE>DELETED ARCHIVED>ACTIVE ARCHIVED>DELETED",
    "DATASET": (
        "PLANNING>RUNNING PLANNING>DELETED RUNNING>DONE RUNNING>FAILED RUNNING>ABORTED "
        "FAILED>PLANNING ABORTED>PLANNING DONE>DELETED"
    ),
    "FINETUNE": "RUNNING>DONE RUNNING>FAILED RUNNING>ABORTED FAILED>RUNNING ABORTED>RUNNING DONE>DELETED",
    "TOKENIZER": "Untrained>Training Training>Trained Trained>Loaded",
    "CHECKPOINT": "Created>Saved Saved>Loaded Loaded>Validated Validated>Saved",
    "TRAINING_SESSION": (
        "Initialized>Training Training>Checkpoint+Saved Training>Completed Training>Interrupted "
        "Checkpoint+Saved>Training Checkpoint+Saved>Completed Checkpoint+Saved>Interrupted "
        "Interrupted>Resumed Resumed>Training"
    ),
    "INFERENCE_SESSION": (
        "Created>Model+Loaded Created>Error Model+Loaded>Ready Model+Loaded>Error "
        "Ready>Processing Ready>Error "
        "Processing>Streaming Processing>Complete Processing>Error "
        "Streaming>Complete Streaming>Error Complete>Ready Error>Ready"
    ),
    "PIPELINE": (
        "prerequisite_check>corpus_download prerequisite_check>failed corpus_download>tokenizer_training "
        "corpus_download>failed tokenizer_training>model_training tokenizer_training>failed "
        "model_training>validation model_training>failed validation>complete validation>failed "
        "failed>prerequisite_check"
    ),
    "EVALUATION_RUN": (
        "pending>running pending>cancelled running>completed running>failed running>cancelled "
        "failed>pending cancelled>pending"
    ),
    "EXPERIMENT_RUN": (
        "pending>running pending>cancelled running>completed running>failed running>cancelled "
        "failed>pending cancelled>pending"
    ),
    "AB_TEST": "draft>running running>completed running>failed running>cancelled failed>draft cancelled>draft",
    "EXPERIMENT": ("draft>active active>paused paused>active active>archived paused>archived archived>active"),
    "MODEL": (
        "experimental>active experimental>archived active>deprecated deprecated>active active>archived "
        "deprecated>archived archived>active"
    ),
}
INITIAL = {
    "PROJECT": "ACTIVE",
    "DATASET": "PLANNING",
    "FINETUNE": "RUNNING",
    "TOKENIZER": "Untrained",
    "CHECKPOINT": "Created",
    "TRAINING_SESSION": "Initialized",
    "INFERENCE_SESSION": "Created",
    "PIPELINE": "prerequisite_check",
    "EVALUATION_RUN": "pending",
    "EXPERIMENT_RUN": "pending",
    "AB_TEST": "draft",
    "EXPERIMENT": "draft",
    "MODEL": "active",
}
TABLES: dict[str, TransitionTable[Any]] = {
    name: table for name, table in vars(lifecycles).items() if isinstance(table, TransitionTable)
}
PAIRS = [
    pytest.param(name, current, wanted, id=f"{name}-{current}-{wanted}")
    for name, table in TABLES.items()
    for current in table.states
    for wanted in table.states
]


def legal(name: str) -> set[tuple[str, str]]:
    moves = (move.replace("+", " ") for move in LEGAL[name].split())
    return {(current, wanted) for current, _, wanted in (move.partition(">") for move in moves)}


def test_every_table_is_checked() -> None:
    assert TABLES.keys() == LEGAL.keys() == INITIAL.keys()


@pytest.mark.parametrize(("name", "current", "wanted"), PAIRS)
def test_every_pair(name: str, current: StrEnum, wanted: StrEnum) -> None:
    table = TABLES[name]
    if (str(current), str(wanted)) in legal(name):
        assert table.check(current, wanted) is wanted
        return
    with pytest.raises(TransitionError) as caught:
        table.check(current, wanted)
    allowed = ", ".join(str(state) for state in table.states if (str(current), str(state)) in legal(name)) or "none"
    text = str(caught.value)
    assert text.startswith(f"{table.kind} is {current}, it cannot become {wanted}; allowed: ")
    assert sorted(text.partition("allowed: ")[2].split(", ")) == sorted(allowed.split(", "))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_beginnings_and_unknown_states(name: str) -> None:
    table = TABLES[name]
    assert table.initial == INITIAL[name]
    with pytest.raises(TransitionError, match="no state nonsense"):
        table.check("nonsense", table.initial)
    with pytest.raises(TransitionError, match="cannot become nonsense"):
        table.check(table.initial, "nonsense")


def edges(table: TransitionTable[Any]) -> set[tuple[str, str]]:
    return {(str(state), str(following)) for state in table.states for following in table.allowed(state)}


def test_judging_a_state_loads_no_torch() -> None:
    code = "import sys, studio.records.lifecycles; print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]


def test_the_running_pipeline_has_the_same_phases() -> None:
    from studio.pipeline.status import phase_transitions

    assert edges(phase_transitions()) == edges(lifecycles.PIPELINE)

"""One table of second names: what five specs call differently and Studio calls once (design §3).

An alias is accepted wherever its entity is read: constructor, file, command line. A dotted target reaches into a part
(`corpus_source` is `corpus.path`). This module knows names only, no types and no values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

ALIASES: dict[str, dict[str, str]] = {
    "ModelConfig": {
        "num_layers": "n_layer",
        "num_hidden_layers": "n_layer",
        "num_heads": "n_head",
        "num_attention_heads": "n_head",
        "num_key_value_heads": "n_kv_head",
        "d_model": "n_embd",
        "hidden_size": "n_embd",
        "dim_feedforward": "intermediate_size",
        "max_sequence_length": "sequence_len",
        "max_position_embeddings": "sequence_len",
        "context_length": "sequence_len",
    },
    "OptimizerConfig": {
        "type": "optimizer_type",
        "name": "optimizer_type",
        "optim": "optimizer_type",
        "lr": "learning_rate",
        "muon_lr": "muon_learning_rate",
        "epsilon": "eps",
    },
    "TrainConfig": {
        "device_batch_size": "per_device_batch_size",
        "per_device_train_batch_size": "per_device_batch_size",
        "checkpoint_interval": "save_steps",
        "learning_rate_schedule": "lr_scheduler_type",
        "max_sequence_length": "sequence_len",
        "optimizer_config": "optim",
        "learning_rate": "optim.learning_rate",
        "muon_learning_rate": "optim.muon_learning_rate",
        "weight_decay": "optim.weight_decay",
        "beta1": "optim.beta1",
        "beta2": "optim.beta2",
        "eps": "optim.eps",
    },
    "TokenizerConfig": {
        "type": "model_type",
        "tokenizer_model_type": "model_type",
        "tokenizer_vocab_size": "vocab_size",
    },
    "DataSource": {"type": "source_type", "url": "path"},
    "CorpusConfig": {"source": "path", "corpus_size_mb": "size_mb"},
    "GenerationParams": {"max_new_tokens": "max_tokens"},
    "LoraConfig": {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"},
    "PipelineConfiguration": {
        "corpus_source": "corpus.path",
        "corpus_size_mb": "corpus.size_mb",
        "tokenizer_vocab_size": "tokenizer.vocab_size",
        "tokenizer_model_type": "tokenizer.model_type",
        "model_architecture": "model",
        "optim": "pretrain.optim",
        "batch_size": "pretrain.batch_size",
        "learning_rate": "pretrain.learning_rate",
        "num_epochs": "pretrain.num_epochs",
        "max_sequence_length": "model.sequence_len",
        "training_hyperparameters.batch_size": "pretrain.batch_size",
        "training_hyperparameters.learning_rate": "pretrain.learning_rate",
        "training_hyperparameters.num_epochs": "pretrain.num_epochs",
        "training_hyperparameters.max_sequence_length": "model.sequence_len",
    },
    "TrainRun": {
        "model_config": "model",
        "optim": "train.optim",
        "trainer": "train",
    },
}
"""Entity → {alias: canonical name, dotted when it lies in a part of the entity}."""

SAME_AS: dict[str, str] = {"ModelArchitecture": "ModelConfig"}
"""Entities that share another one's aliases."""


def of(entity: str) -> dict[str, str]:
    """The aliases of one entity."""
    return ALIASES.get(SAME_AS.get(entity, entity), {})


def names(entity: str) -> list[str]:
    """The alias names of one entity, first segments only."""
    return sorted({alias.partition(".")[0] for alias in of(entity)})


def translate(entity: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` under canonical names. Naming one thing twice with two values is an error."""
    table = of(entity)
    result = {str(key): value for key, value in data.items() if str(key) not in names(entity)}
    for key, value in data.items():
        for canonical, item in _targets(table, str(key), value):
            _put(result, canonical.split("."), item, str(key), canonical)
    return result


def canonical_key(entity: str, key: str) -> str:
    """The canonical form of a dotted `key` as far as this entity names it: `training_hyperparameters.batch_size`."""
    table = of(entity)
    for alias, canonical in sorted(table.items(), key=lambda item: -len(item[0])):
        if key == alias or key.startswith(alias + "."):
            return canonical + key[len(alias) :]
    return key


def _targets(table: Mapping[str, str], key: str, value: Any) -> list[tuple[str, Any]]:
    if key in table:
        return [(table[key], value)]
    inner = {alias[len(key) + 1 :]: target for alias, target in table.items() if alias.startswith(key + ".")}
    if not inner:
        return []
    if not isinstance(value, Mapping):
        raise PydanticCustomError("rule", "{key} must be a mapping of keys to values", {"key": key})
    for part in value:
        if part not in inner:
            raise PydanticCustomError("rule", "unknown key {key}.{part}", {"key": key, "part": str(part)})
    return [(inner[part], item) for part, item in value.items()]


def _put(result: dict[str, Any], path: list[str], value: Any, alias: str, canonical: str) -> None:
    """Set a dotted path without changing what the caller passed in."""
    here = result
    for part in path[:-1]:
        child = here.get(part)
        if isinstance(child, BaseModel):
            child = child.model_dump(exclude_unset=True)
        here[part] = dict(child) if isinstance(child, Mapping) else {}
        here = here[part]
    last = path[-1]
    if isinstance(here.get(last), Mapping) and isinstance(value, Mapping):
        here[last] = {**here[last], **value}
        return
    if last in here and here[last] is not None and here[last] != value:
        text = "{alias} is another name of {canonical}, and they differ: {one} and {two}"
        shown = {"alias": alias, "canonical": canonical, "one": repr(value), "two": repr(here[last])}
        raise PydanticCustomError("rule", text, shown)
    here[last] = value

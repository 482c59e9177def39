"""From names and overrides to a configuration: the only module that imports Hydra.

Hydra composes the variants of `conf/`; values that a person sends are read with Hydra's grammar, but merged after
composition, so that no file name can break the grammar. Refused in anything a person sends: `_target_` and its kin,
`${…}` of any kind. Types and ranges are not checked here, the pydantic models own them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from studio.config import aliases
from studio.config.base import Frozen, canonical_tree, field_of, owner_of, parse, takes_only_text
from studio.config.pipeline import PipelineConfiguration
from studio.config.run import TrainRun
from studio.config.saved import read_yaml
from studio.core.errors import ConfigError

ROOTS: dict[str, type[Frozen]] = {"pipeline": PipelineConfiguration, "train": TrainRun}
STAGE_PACKAGES = {"pipeline": ("pretrain", "midtrain", "sft"), "train": ("train",)}
_ONE_COMPOSITION = threading.Lock()  # Hydra keeps global state
_KEY = re.compile(r"\+{0,2}(?P<key>[A-Za-z_][\w\-]*(\.[\w\-]+)*(@[A-Za-z_][\w.]*)?)")
_HYDRA_KEYS = frozenset({"_target_", "_recursive_", "_convert_", "_partial_", "_args_"})


@dataclass(frozen=True, slots=True)
class Value:
    """One value that a person sent, under its canonical dotted key."""

    key: str
    value: Any


def conf_folder() -> Path:
    """The Hydra tree: inside the installed package, or beside `src/` in a checkout."""
    here = Path(__file__).resolve()
    packaged = here.parents[1] / "_conf"
    return packaged if packaged.is_dir() else here.parents[3] / "conf"


def groups() -> dict[str, list[str]]:
    """Every group of variants and the names in it."""
    folders = sorted(folder for folder in conf_folder().iterdir() if folder.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def load_pipeline(overrides: Sequence[str] = (), *, file: Path | None = None) -> PipelineConfiguration:
    """The configuration of `studio pipeline run OVERRIDES`. ConfigError (exit 2) names the key that is wrong."""
    return parse(PipelineConfiguration, compose("pipeline", overrides, file=file), where="config")


def load_train(stage: str, overrides: Sequence[str] = (), *, file: Path | None = None) -> TrainRun:
    """The configuration of `studio train STAGE OVERRIDES`."""
    _check_choice("stage", stage)
    return parse(TrainRun, compose("train", [f"stage={stage}", *overrides], file=file), where="config")


def compose(root: str, overrides: Sequence[str] = (), *, file: Path | None = None) -> dict[str, Any]:
    """Plain nested values of `root` (pipeline or train) under `overrides`; `file` is a YAML mapping below them.

    An override is `group=variant` or `dotted.key=value`; `config=FILE` names the file on the command line.
    """
    choices: list[str] = []
    values: list[Value] = []
    for override in overrides:
        key, text = _split(override)
        if key == "config":
            file = Path(text)
        elif (group := key.partition("@")[0]) in groups() and not text.startswith(("{", "'", '"')) and text != "null":
            choices += _choice(root, group, key, text)
        else:
            values.append(_value(root, key, text))
    if file is not None:
        from_file, below = _read_file(root, file)
        choices = from_file + choices
        values = below + values
    result = _composed(root, choices)
    for item in values:
        _merge(result, item.key.split("."), item.value)
    return result


def _split(override: str) -> tuple[str, str]:
    name, equals, text = override.partition("=")
    match = _KEY.fullmatch(name.strip())
    if match is None or not equals or name.startswith("~"):
        raise ConfigError(f"cannot read {override!r}", where="override", remedy="Write key=value; key=null removes")
    key = match["key"]
    _check_keys(key.split("."), key)
    if key.partition(".")[0] == "hydra":
        raise ConfigError("Hydra's own settings cannot be changed", where=key, key=key)
    if "${" in text:
        raise _no_interpolation(key)
    return key, text


def _choice(root: str, group: str, key: str, name: str) -> list[str]:
    """Hydra's overrides for one choice; a group that sits in every stage is chosen in all of them."""
    _check_choice(group, name)
    places = _places(root, group)
    if "@" in key and key in places:
        return [f"{key}={name}"]
    if "@" in key or not places:
        remedy = f"There are: {', '.join(places)}" if places else ""
        raise ConfigError(f"{key} cannot be chosen here", where="override", remedy=remedy, key=key)
    return [f"{place}={name}" for place in places]


def _places(root: str, group: str) -> list[str]:
    """Where Hydra mounts a group under this root; empty when it does not."""
    everywhere = {
        "optim": [f"optim@{stage}.optim" for stage in STAGE_PACKAGES[root]],
        "trainer": [f"trainer@{stage}" for stage in STAGE_PACKAGES[root]],
        **{name: [name] for name in ("corpus", "tokenizer", "model", "data")},
    }
    here = {
        "pipeline": {
            "experiment": ["experiment"],
            "serve": ["serve@export"],
            "eval": ["eval@validation"],
        },
        "train": {"adapter": ["adapter"], "stage": ["stage@train"]},
    }
    return (everywhere | here[root]).get(group, [])


def _check_choice(group: str, name: str) -> None:
    known = groups()[group]
    if name not in known:
        remedy = f"There are: {', '.join(known)}"
        if group == "corpus":
            remedy += "; for texts of your own: corpus.path=FOLDER"
        raise ConfigError(f"{group}={name}: there is no such {group}", where="override", remedy=remedy, key=group)


def _value(root: str, key: str, text: str) -> Value:
    canonical = _canonical_key(ROOTS[root], key)
    value = _read(ROOTS[root], canonical, key, text)
    _check_sent(value, key)
    owner = owner_of(ROOTS[root], canonical)
    if owner is not None and isinstance(value, Mapping):
        value = canonical_tree(owner, value)
    return Value(canonical, value)


def _read(root: type[Frozen], canonical: str, key: str, text: str) -> Any:
    """Text as it stands where only text fits, else as Hydra's grammar reads it."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    field = field_of(root, canonical)
    if field is not None and takes_only_text(field) and not quoted:
        return None if text == "null" else text
    parsed = _hydra_value(text)
    if parsed is None:
        return text  # no grammar fits: pydantic says what should stand here
    if parsed.is_sweep_override():
        raise ConfigError(f"{key}: one value is allowed here, not several", where="override", key=key)
    return _plain(parsed.value())


def _hydra_value(text: str) -> Any:
    try:
        return OverridesParser.create().parse_override(f"key={text}")
    except (HydraException, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _canonical_key(root: type[Frozen], key: str) -> str:
    """`pretrain.learning_rate` → `pretrain.optim.learning_rate`, part by part through the models."""
    done: list[str] = []
    owner: Any = root
    rest = key
    while rest and owner is not None:
        first, _, rest = aliases.canonical_key(owner.__name__, rest).partition(".")
        done.append(first)
        owner = owner_of(owner, first)
    return ".".join([*done, rest] if rest else done)


def _read_file(root: str, file: Path) -> tuple[list[str], list[Value]]:
    """Choices and values of a YAML file; a group's key with a plain name is a choice (`model: mini`)."""
    data = read_yaml(file)
    known = groups()
    picked = {key: name for key, name in data.items() if key in known and isinstance(name, str)}
    rest = {key: value for key, value in data.items() if key not in picked}
    for key, value in rest.items():
        _check_sent(key, key)
        _check_sent(value, key)
    choices = [choice for group, name in picked.items() for choice in _choice(root, group, group, name)]
    return choices, [Value(key, value) for key, value in canonical_tree(ROOTS[root], rest).items()]


def _check_sent(value: Any, key: str) -> None:
    """Refuse `_target_` and `${…}` at any depth of what a person sent."""
    for where, item in _walk(value, key):
        if isinstance(item, str) and "${" in item:
            raise _no_interpolation(where)
        _check_keys(where.split("."), where)


def _walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield f"{key}.{name}", str(name)
            yield from _walk(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _walk(item, f"{key}.{number}")
    else:
        yield key, value


def _check_keys(parts: Sequence[str], key: str) -> None:
    if _HYDRA_KEYS & set(parts):
        remedy = "Choose a variant by its name, as in model=mini"
        raise ConfigError(f"{key} is not allowed: no configuration names code", where="config", remedy=remedy, key=key)


def _no_interpolation(key: str) -> ConfigError:
    what = f"{key}: ${{...}} is not allowed in a value"
    return ConfigError(what, where="config", remedy="Write the value itself", key=key)


def _composed(root: str, choices: Sequence[str]) -> dict[str, Any]:
    try:
        with _ONE_COMPOSITION, initialize_config_dir(str(conf_folder()), version_base=None):
            config = hydra_compose(config_name=root, overrides=list(choices))
        _check_own(config)
        result = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0], where="config") from None
    assert isinstance(result, dict)
    return _without_missing({str(key): value for key, value in result.items()})


def _check_own(config: DictConfig) -> None:
    for key, item in _walk(OmegaConf.to_container(config, resolve=False), "conf"):
        if isinstance(item, str) and re.search(r"\$\{[^}]*:", item):
            raise _no_interpolation(key.removeprefix("conf."))


def _without_missing(value: dict[str, Any]) -> dict[str, Any]:
    """`???` stands for a value that only a person knows: leave the key out, the model says that it is required."""
    kept = {key: _without_missing(item) if isinstance(item, dict) else item for key, item in value.items()}
    return {key: item for key, item in kept.items() if item != "???"}


def _merge(into: dict[str, Any], path: list[str], value: Any) -> None:
    here = into
    for part in path[:-1]:
        if not isinstance(here.get(part), dict):
            here[part] = {}
        here = here[part]
    old = here.get(path[-1])
    if isinstance(old, dict) and isinstance(value, Mapping):
        for name, item in value.items():
            _merge(old, [str(name)], item)
    else:
        here[path[-1]] = value

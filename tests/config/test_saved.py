"""Saved configurations: round trip, versions, and the form that older programs wrote."""

from pathlib import Path

import pytest
import yaml

from studio.config.compose import load_pipeline
from studio.config.migrations import CURRENT_VERSION, MIGRATIONS, migrate
from studio.config.pipeline import CONFIG_VERSION, PipelineConfiguration
from studio.config.saved import load_saved, save
from studio.core.errors import ConfigError


def test_a_saved_configuration_opens_as_it_was(tmp_path: Path):
    config = load_pipeline(["corpus.path=café/ñ.txt", "sft=null", "skip_phases=[corpus_download]"])
    save(tmp_path / "config.yaml", config)
    assert load_saved(tmp_path / "config.yaml", PipelineConfiguration) == config
    assert "café/ñ.txt" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_a_renamed_key_of_version_1_opens(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("config_version: 1\ndata:\n  val_fraction: 0.2\n")
    config = load_saved(file, PipelineConfiguration)
    assert config.data.validation_fraction == 0.2
    assert config.config_version == CONFIG_VERSION


def test_without_its_migration_the_renamed_key_is_an_error(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(f"config_version: {CURRENT_VERSION}\ndata:\n  val_fraction: 0.2\n")
    with pytest.raises(ConfigError, match=r"unknown key data.val_fraction. Did you mean data.validation_fraction"):
        load_saved(file, PipelineConfiguration)


def test_every_new_key_has_a_default(tmp_path: Path):
    """003 §Configuration Evolution: an old file without the newer keys still opens."""
    file = tmp_path / "config.yaml"
    file.write_text("config_version: 1\n")
    assert load_saved(file, PipelineConfiguration) == PipelineConfiguration()


@pytest.mark.parametrize("version", [0, -1, "2", True, 1.0, None])
def test_a_version_that_is_no_number_is_refused(version: object):
    with pytest.raises(ConfigError, match="config_version must be a whole number"):
        migrate({"config_version": version})


def test_a_newer_version_is_refused():
    with pytest.raises(ConfigError, match="newer than"):
        migrate({"config_version": CURRENT_VERSION + 1})


def test_the_versions_agree():
    assert CURRENT_VERSION == CONFIG_VERSION == len(MIGRATIONS) + 1


def test_a_migration_leaves_its_input_alone():
    old = {"config_version": 1, "data": {"val_fraction": 0.2}}
    migrate(old)
    assert old == {"config_version": 1, "data": {"val_fraction": 0.2}}


def test_no_object_comes_out_of_a_file(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_saved(file, PipelineConfiguration)
    assert yaml.safe_load("a: 1") == {"a": 1}

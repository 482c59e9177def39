"""A wrong configuration ends in one line that names the key and exit code 2, from the command line and from files."""

import subprocess
import sys
from pathlib import Path

import pytest

from studio.config.compose import load_pipeline, load_train
from studio.core.errors import ConfigError

WRONG = [
    ("modle=3", "modle"),
    ("model.n_layr=3", "model.n_layr"),
    ("pretrain.optim.lerning_rate=1", "pretrain.optim.lerning_rate"),
    ("model.n_layer=abc", "model.n_layer"),
    ("pretrain.num_epochs=true", "pretrain.num_epochs"),
    ("model=[1]", "model"),
    ("model.n_layer=40", "model.n_layer"),
    ("tokenizer.vocab_size=100000", "tokenizer.vocab_size"),
    ("pretrain.learning_rate=0", "learning_rate"),
    ("pretrain.batch_size=0", "batch_size"),
    ("_target_=os.system", "_target_"),
    ("model._target_=os.system", "model._target_"),
    ("model={_target_: os.system}", "model._target_"),
    ("corpus.sources=[{path: x, a: {_target_: y}}]", "_target_"),
    ("corpus.path=${oc.env:HOME}", "corpus.path"),
    ("name=x${oc.env:HOME}y", "name"),
    ("pretrain.sample_prompts=[a,'${oc.env:HOME}']", "pretrain.sample_prompts"),
    ("data={dedup: {threshold: '${oc.env:HOME}'}}", "data"),
    ("seed=${oc.decode:1}", "seed"),
    ("seed=${hydra:job.num}", "seed"),
    ("name=${now:%Y}", "name"),
    ("seed=${data.seed}", "seed"),
    ("name=${${oc.env:HOME}}", "name"),
    ("seed=" + "[" * 3000, "seed"),
]


@pytest.mark.parametrize(("override", "key"), WRONG)
def test_one_line_names_the_key(override: str, key: str):
    with pytest.raises(ConfigError) as caught:
        load_pipeline([override])
    text = str(caught.value)
    assert key in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("modle: 3", "modle"),
        ("model:\n  n_layer: many", "model.n_layer"),
        ("model:\n  n_layer: 40", "model.n_layer"),
        ("model:\n  _target_: os.system", "model._target_"),
        ("_target_: os.system", "_target_"),
        ("corpus:\n  path: ${oc.env:HOME}", "corpus.path"),
        ("corpus:\n  sources:\n    - path: a\n    - path: 'b/${oc.env:HOME}'", "corpus.sources.1.path"),
        ("name: ${oc.create:{a:1}}", "name"),
        ("pretrain:\n  sample_prompts: ['${oc.env:HOME}']", "pretrain.sample_prompts.0"),
        ("'${oc.env:HOME}': 1", "HOME"),
    ],
)
def test_the_same_from_a_file(tmp_path: Path, content: str, key: str):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file=file)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_nested_without_end_is_refused(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: " + "[" * 3000)
    with pytest.raises(ConfigError, match=r"mine.yaml: is n"):
        load_pipeline(file=file)


@pytest.mark.parametrize("override", ["train.optim._target_=x", "train.output_dir=${oc.env:HOME}", "train.foo=1"])
def test_the_same_for_one_stage(override: str):
    with pytest.raises(ConfigError) as caught:
        load_train("pretrain", [override])
    assert override.partition("=")[0] in str(caught.value)


def run_cli(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studio.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={"STUDIO_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"},
    )


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.n_layr=3", "model.n_layr"),
        ("model.n_layer=abc", "model.n_layer"),
        ("model.n_layer=40", "model.n_layer"),
        ("model._target_=os.system", "model._target_"),
        ("corpus.path=${oc.env:HOME}", "corpus.path"),
    ],
)
def test_on_the_command_line(tmp_path: Path, override: str, key: str):
    result = run_cli(tmp_path, "pipeline", "run", override, "--wait")
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert key in lines[0]
    assert str(Path.home()) not in result.stderr + result.stdout


@pytest.mark.parametrize("path", ["café/ñ.txt", "a=b, c.txt", "C:\\Mis textos\\año.txt"])
def test_file_names_survive_the_command_line(path: str):
    code = "import sys; from studio.config.compose import load_pipeline as l; print(l(sys.argv[1:]).corpus.path)"
    result = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, f"corpus.path={path}", "sft=null"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    assert result.stdout.rstrip("\n") == path

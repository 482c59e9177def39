"""Variants, overrides and files become one configuration; nothing that a person sends names code."""

from pathlib import Path

import pytest

from studio.config.compose import compose, conf_folder, groups, load_pipeline, load_train
from studio.core.errors import ConfigError


@pytest.mark.parametrize("experiment", groups()["experiment"])
def test_every_experiment_composes(experiment: str):
    config = load_pipeline([f"experiment={experiment}", *(["corpus.path=x"] if experiment == "bilingual" else [])])
    assert config.name == experiment


GROUPS_OF_THE_DESIGN = {
    *("model", "corpus", "tokenizer", "stage", "adapter", "optim"),
    *("trainer", "data", "serve", "eval", "experiment"),
}


def test_the_tree_has_the_groups_of_the_design():
    assert set(groups()) >= GROUPS_OF_THE_DESIGN
    assert (conf_folder() / "config.yaml").is_file()


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={name}"
        for group in ("model", "tokenizer", "optim", "trainer", "data", "serve", "eval")
        for name in groups()[group]
    ],
)
def test_every_variant_fits_a_pipeline(choice: str):
    assert load_pipeline([choice])


def test_the_jobs_of_the_issue():
    bilingual = load_pipeline(["experiment=bilingual", "corpus.path=../shared/corpora/text"])
    model, stage = bilingual.model, bilingual.pretrain
    assert (model.n_layer, model.n_embd, model.n_head, model.intermediate_size, model.sequence_len) == (
        2,
        128,
        4,
        256,
        128,
    )
    assert (bilingual.tokenizer.model_type, bilingual.tokenizer.vocab_size) == ("unigram", 8000)
    assert (stage.batch_size, stage.num_epochs <= 20, bilingual.sft) == (32, True, None)
    train = load_train("pretrain", ["model=mini", "optim.learning_rate=1e-3"])
    assert (train.model.n_layer, train.train.optim.learning_rate, train.train.stage) == (3, 1e-3, "pretrain")


def test_the_books_are_fetched_and_cut_like_the_bilingual_job():
    books, plain = load_pipeline(["experiment=gutenberg"]), load_pipeline(["experiment=bilingual", "corpus.path=x"])
    assert {source.source_type for source in books.corpus.all_sources} == {"url"}
    assert {source.language for source in books.corpus.all_sources} == {"spa", "eng"}
    assert (books.model, books.pretrain, books.tokenizer) == (plain.model, plain.pretrain, plain.tokenizer)


def test_the_default_is_the_starter_world():
    assert load_pipeline() == load_pipeline(["experiment=starter"])
    assert load_pipeline().corpus.is_starter


def test_a_choice_reaches_every_stage():
    config = load_pipeline(["optim=sgd", "trainer=exact"])
    assert {stage.optim.optimizer_type for stage in config.stages} == {"sgd"}
    assert {stage.deterministic for stage in config.stages} == {True}
    one = load_pipeline(["optim@sft.optim=sgd"])
    assert [stage.optim.optimizer_type for stage in one.stages] == ["muon", "sgd"]


def test_a_value_beats_a_choice_wherever_it_stands():
    assert load_pipeline(["pretrain.optim.learning_rate=1e-3", "optim=adamw"]).pretrain.optim.learning_rate == 1e-3


def test_second_names_work_in_keys():
    config = load_pipeline(["tokenizer_vocab_size=2000", "model.num_layers=4", "pretrain.learning_rate=0.001"])
    assert (config.tokenizer.vocab_size, config.model.n_layer, config.pretrain.optim.learning_rate) == (2000, 4, 1e-3)
    assert load_pipeline(["training_hyperparameters.num_epochs=2"]).pretrain.num_epochs == 2
    assert load_pipeline(["model_architecture={num_layers: 4}"]).model.n_layer == 4


def test_a_stage_that_the_experiment_leaves_out_can_be_asked_for():
    config = load_pipeline(["midtrain.num_epochs=2"])
    assert config.midtrain is not None
    assert (config.midtrain.stage, config.midtrain.num_epochs) == ("midtrain", 2)


@pytest.mark.parametrize(
    "path",
    [
        "café/ñ.txt",
        "a=b",
        "C:\\Mis textos\\año 1.txt",
        "two words/and, commas",
        " leading",
        "[x] {y}",
        "(1)",
        "it's",
        "true",
        "1e5",
        "$HOME/x",
        "a:b@c#d",
        "日本語",
        "~/texts",
        "*.txt",
    ],
)
def test_any_file_name_is_a_value(path: str):
    assert load_pipeline([f"corpus.path={path}", "sft=null"]).corpus.path == path


def test_quotes_around_a_value_are_not_part_of_it():
    assert load_pipeline(["corpus.path='a b'", "sft=null"]).corpus.path == "a b"
    assert load_pipeline(['name="my run"']).name == "my run"


def test_lists_and_mappings_are_read():
    config = load_pipeline(["pretrain.sample_prompts=[Once upon,'a=b, c']", "data.dedup={near: false}"])
    assert config.pretrain.sample_prompts == ["Once upon", "a=b, c"]
    assert (config.data.dedup.near, config.data.dedup.exact) == (False, True)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("modle=tiny", "unknown key modle. Did you mean model?"),
        ("model=huge", "there is no such model. There are: base, mini, small, tiny"),
        ("corpus=books", "for texts of your own: corpus.path=FOLDER"),
        ("adapter=lora", "adapter cannot be chosen here"),
        ("optim@x=sgd", "optim@x cannot be chosen here"),
        ("model.n_layer=1,2", "one value is allowed here"),
        ("model.n_layer", "cannot read 'model.n_layer'"),
        ("=3", "cannot read '=3'"),
        ("~sft", "cannot read '~sft'"),
        ("hydra.run.dir=/tmp", "Hydra's own settings cannot be changed"),
        ("config=/nowhere.yaml", "/nowhere.yaml: cannot be read"),
    ],
)
def test_an_override_that_means_nothing_is_refused(override: str, said: str):
    with pytest.raises(ConfigError) as caught:
        load_pipeline([override])
    assert said in str(caught.value)


def test_a_file_lies_between_variants_and_overrides(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("model: small\nlearning_rate: 1e-3\nsft: null\ncorpus:\n  path: año/texto.txt\n", encoding="utf-8")
    config = load_pipeline([f"config={file}", "model.num_layers=5"])
    assert (config.model.n_embd, config.model.n_layer) == (256, 5)
    assert (config.pretrain.optim.learning_rate, config.corpus.path, config.sft) == (1e-3, "año/texto.txt", None)
    assert load_pipeline(["model.num_layers=5"], file=file) == config


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: [", "is not YAML at line 1"),
        ("- a\n", "must be a mapping of keys to values, got list"),
        ("modle: 3\n", "unknown key modle"),
        ("model: huge\n", "there is no such model"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, said: str):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file=file)
    assert said in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_bytes("name: año".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_pipeline(file=file)


def test_an_open_value_is_required():
    with pytest.raises(ConfigError, match="a corpus needs a path"):
        load_pipeline(["corpus=local"])


def test_later_stages_need_a_model():
    with pytest.raises(ConfigError, match=r"train.model_name is required: sft goes on from a trained model"):
        load_train("sft")
    assert load_train("sft", ["train.model_name=latest"]).train.stage == "sft"


def test_adapters_are_refused_rather_than_ignored():
    with pytest.raises(ConfigError, match="adapters cannot be trained yet"):
        load_train("pretrain", ["adapter=lora"])


def test_composing_is_plain_data():
    data = compose("train", ["train.seed=3"])
    assert data["train"]["seed"] == 3
    assert type(data["train"]) is dict

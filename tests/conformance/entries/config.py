"""Configuration: 001 ModelConfig to DataSource, 002 §7, 003 PipelineConfiguration and its evolution."""

from tests.conformance.entry import Entry

MODEL = "tests/config/test_model.py::"
TRAINING = "tests/config/test_training.py::"
GENERATION = "tests/config/test_generation.py::"
TEXT = "tests/config/test_text.py::"
PIPELINE = "tests/config/test_pipeline.py::"
SAVED = "tests/config/test_saved.py::"
ONE_LINE = "test_a_broken_rule_is_named_in_one_line"

_MODEL = [
    (39, "ModelConfig", "architecture of one model", "ModelConfig", "test_fields_of_001_are_there_under_their_names"),
    *(
        (line, f"ModelConfig.{name}", f"{name} under its name", f"ModelConfig.{name}", test)
        for test in ["test_fields_of_001_are_there_under_their_names"]
        for line, name in enumerate(
            ["vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "sequence_len", "block_size", "dropout"], 44
        )
    ),
    (58, "ModelConfig n_embd divisible by n_head", "width over heads", "ModelShape._dimensions_fit", ONE_LINE),
    (59, "ModelConfig n_head divisible by n_kv_head", "grouped queries", "ModelShape._dimensions_fit", ONE_LINE),
    (60, "ModelConfig n_kv_head at most n_head", "grouped queries", "ModelShape._dimensions_fit", ONE_LINE),
    (61, "ModelConfig.sequence_len range", "above 0", "ModelShape.sequence_len", ONE_LINE),
    (61, "ModelConfig.block_size range", "above 0", "ModelShape.block_size", ONE_LINE),
    (62, "ModelConfig.dropout range", "0 to 1", "ModelShape.dropout", ONE_LINE),
    (278, "architecture dimensions", "divisibility and ranges", "ModelShape._dimensions_fit", ONE_LINE),
]

_FLAT = "test_flat_names_and_second_names"
_BATCH = "test_batch_numbers_follow_from_those_given"
_TRAINING = [
    (88, "TrainingConfiguration", "settings of one stage", "run:TrainRun", "test_defaults_of_002"),
    (93, "TrainingConfiguration.model_config", "the network", "run:TrainRun.model", "test_defaults_of_002"),
    (94, "TrainingConfiguration.optimizer_config", "the optimizer", "TrainConfig.optim", _FLAT),
    (95, "TrainingConfiguration.batch_size", "sequences per step", "TrainConfig.batch_size", _BATCH),
    (96, "TrainingConfiguration.device_batch_size", "an alias", "TrainConfig.per_device_batch_size", _BATCH),
    (97, "TrainingConfiguration.gradient_accumulation_steps", "", "TrainConfig.gradient_accumulation_steps", _BATCH),
    (98, "TrainingConfiguration.max_steps", "beats num_epochs", "TrainConfig.max_steps", ONE_LINE),
    (99, "TrainingConfiguration.checkpoint_interval", "an alias", "TrainConfig.save_steps", _FLAT),
    (100, "TrainingConfiguration.learning_rate_schedule", "an alias", "TrainConfig.lr_scheduler_type", _FLAT),
    (101, "TrainingConfiguration.warmup_steps", "beats warmup_ratio", "TrainConfig.warmup_steps", ONE_LINE),
    (108, "TrainingConfiguration batch sizes positive", "", "TrainConfig.per_device_batch_size", ONE_LINE),
    (
        109,
        "TrainingConfiguration gradient accumulation positive",
        "",
        "TrainConfig.gradient_accumulation_steps",
        ONE_LINE,
    ),
    (110, "TrainingConfiguration learning rate positive", "", "OptimizerConfig.learning_rate", ONE_LINE),
    (111, "TrainingConfiguration warmup at most max_steps", "", "TrainConfig._numbers_fit", ONE_LINE),
    (113, "OptimizerConfig", "optimizer settings", "OptimizerConfig", _FLAT),
    (118, "OptimizerConfig.optimizer_type", "optimizer_type", "OptimizerConfig.optimizer_type", "test_optimizer_types"),
    (118, "OptimizerConfig.optimizer_type AdamW", "a value", "OptimizerType", "test_optimizer_types"),
    (118, "OptimizerConfig.optimizer_type SGD", "a value", "OptimizerType", "test_optimizer_types"),
    (119, "OptimizerConfig.learning_rate", "the base rate", "OptimizerConfig.learning_rate", _FLAT),
    (120, "OptimizerConfig.weight_decay", "", "OptimizerConfig.weight_decay", _FLAT),
    (121, "OptimizerConfig.beta1", "", "OptimizerConfig.beta1", _FLAT),
    (122, "OptimizerConfig.beta2", "", "OptimizerConfig.beta2", ONE_LINE),
    (123, "OptimizerConfig.eps", "", "OptimizerConfig.eps", ONE_LINE),
    (129, "OptimizerConfig.learning_rate range", "above 0", "OptimizerConfig.learning_rate", ONE_LINE),
    (130, "OptimizerConfig.weight_decay range", "0 or more", "OptimizerConfig.weight_decay", ONE_LINE),
    (131, "OptimizerConfig betas range", "between 0 and 1", "Beta", ONE_LINE),
    (132, "OptimizerConfig.eps range", "above 0", "OptimizerConfig.eps", ONE_LINE),
    (281, "parameter ranges", "every hyperparameter in its range", "TrainConfig", ONE_LINE),
]

_OUT = "test_a_value_out_of_range_is_named"
_DEFAULTS = "test_defaults_of_002"
_EXPLICIT = "test_an_explicit_one_that_does_not_fit_is_an_error"
_GENERATION = [
    (193, "GenerationParams", "sampling settings", "GenerationParams", _DEFAULTS),
    *(
        (line, f"GenerationParams.{name}", f"{name} under its name", f"GenerationParams.{name}", _DEFAULTS)
        for line, name in enumerate(["temperature", "top_k", "top_p", "max_tokens", "seed"], 198)
    ),
    (209, "GenerationParams.temperature range", "0 to 2", "Temperature", _OUT),
    (210, "GenerationParams.top_k range", "1 to the vocabulary size", "GenerationParams.checked_for", _EXPLICIT),
    (211, "GenerationParams.top_p range", "above 0, up to 1", "GenerationParams.top_p", _OUT),
    (212, "GenerationParams.max_tokens range", "up to the room left", "GenerationParams.checked_for", _EXPLICIT),
]

_REFUSED = "test_a_source_that_cannot_be_read_is_refused"
_TEXT = [
    (234, "DataSource", "one place that text comes from", "DataSource", "test_source_types"),
    (239, "DataSource.source_type", "source_type", "DataSource.source_type", "test_source_types"),
    *(
        (239, f"DataSource.source_type {kind}", "a value", "SourceType", "test_source_types")
        for kind in ("File", "URL", "HuggingFace")
    ),
    (240, "DataSource.path", "path or URL", "DataSource.path", _REFUSED),
    (241, "DataSource.format", "format", "DataSource.format", "test_formats"),
    *((241, f"DataSource.format {form}", "a value", "DataFormat", "test_formats") for form in ("Text", "JSONL")),
    (242, "DataSource.weight", "how often it is drawn", "DataSource.weight", _REFUSED),
    (248, "DataSource path valid", "no empty, NUL or foreign path", "DataSource._path_is_valid", _REFUSED),
    (249, "DataSource.weight range", "above 0", "DataSource.weight", _REFUSED),
    (250, "DataSource format supported", "only known formats", "DataFormat", _REFUSED),
]

_TEXTS_002 = [
    (382, 'model_name "Model name required"', "training:TrainConfig.model_name", TRAINING + ONE_LINE),
    (382, "model_name not empty, valid path", "training:TrainConfig._model_name_stays_inside", TRAINING + ONE_LINE),
    (383, "prompt 100K range", "generation:MAX_PROMPT_CHARS", GENERATION + "test_prompts_have_a_longest_length"),
    (383, 'prompt "Prompt too long"', "generation:check_prompt", GENERATION + "test_prompts_have_a_longest_length"),
    (384, "max_tokens 1-4096 range", "generation:MAX_TOKENS_LIMIT", GENERATION + _OUT),
    (384, 'max_tokens "Invalid max_tokens"', "generation:MaxTokens", GENERATION + _OUT),
    (385, "temperature 0-2 range", "generation:Temperature", GENERATION + _OUT),
    (385, 'temperature "Temperature out of range"', "generation:Temperature", GENERATION + _OUT),
    (386, "learning_rate > 0 range", "base:LearningRate", TRAINING + ONE_LINE),
    (386, 'learning_rate "Learning rate must be positive"', "base:LearningRate", TRAINING + ONE_LINE),
    (387, "batch_size >= 1 range", "base:BatchSize", TRAINING + ONE_LINE),
    (387, 'batch_size "Batch size must be at least 1"', "base:BatchSize", TRAINING + ONE_LINE),
    (395, "TrainingConfig.model_name min_length", "training:TrainConfig.model_name", TRAINING + ONE_LINE),
    (396, "TrainingConfig.learning_rate gt", "base:LearningRate", TRAINING + ONE_LINE),
    (397, "TrainingConfig.num_epochs range", "training:TrainConfig.num_epochs", TRAINING + ONE_LINE),
    (
        399,
        'TrainingConfig.model_name "Invalid model path"',
        "training:TrainConfig._model_name_stays_inside",
        TRAINING + ONE_LINE,
    ),
]

_NAMES = "test_every_name_of_003_is_accepted"
_DEFAULTS_003 = "test_defaults_of_003"
_RANGES = "test_ranges_of_003"
_OWN = "test_the_default_corpus_is_the_starter_world_and_the_default_output_the_home"
_PIPELINE = [
    (20, "", "all settings of one run", "PipelineConfiguration", _NAMES),
    (25, ".corpus_source", "an alias of corpus.path", "PipelineConfiguration.corpus", _NAMES),
    (
        27,
        ".corpus_source default",
        "the starter world; 003's books are a variant",
        "PipelineConfiguration.corpus",
        _OWN,
    ),
    (28, ".corpus_size_mb", "an alias of corpus.size_mb", "PipelineConfiguration.corpus", _NAMES),
    (29, ".corpus_size_mb range", "above 0", "PipelineConfiguration.corpus", _RANGES),
    (30, ".tokenizer_vocab_size", "an alias", "PipelineConfiguration.tokenizer", _NAMES),
    (31, ".tokenizer_vocab_size 32000 range", "1000 to 32000", "PipelineConfiguration._within_003", _RANGES),
    (32, ".tokenizer_vocab_size default", "8000", "PipelineConfiguration.tokenizer", _DEFAULTS_003),
    (33, ".tokenizer_model_type", "an alias", "PipelineConfiguration.tokenizer", _NAMES),
    (35, ".tokenizer_model_type default", "unigram", "PipelineConfiguration.tokenizer", _DEFAULTS_003),
    (36, ".model_architecture", "an alias of model", "ModelArchitecture", _NAMES),
    (37, ".model_architecture.num_layers", "1 to 12", "ModelArchitecture.n_layer", _RANGES),
    (38, ".model_architecture.d_model", "64 to 512", "ModelArchitecture.n_embd", _RANGES),
    (39, ".model_architecture.num_heads", "1 to 16", "ModelArchitecture.n_head", _RANGES),
    (40, ".model_architecture.dim_feedforward", "128 to 2048", "ModelArchitecture.intermediate_size", _RANGES),
    (41, ".model_architecture default", "2 x 128, 4 heads, 256", "ModelArchitecture", _DEFAULTS_003),
    (42, ".training_hyperparameters", "aliases into pretrain", "PipelineConfiguration.pretrain", _NAMES),
    (43, ".training_hyperparameters.batch_size", "1 to 128", "_check_stage", _RANGES),
    (44, ".training_hyperparameters.learning_rate", "1e-5 to 1e-2", "_check_stage", _RANGES),
    (45, ".training_hyperparameters.num_epochs", "1 to 100", "PipelineConfiguration.pretrain", _RANGES),
    (46, ".training_hyperparameters.max_sequence_length", "32 to 2048", "ModelArchitecture.sequence_len", _RANGES),
    (47, ".training_hyperparameters default", "32, 0.0003, 20, 128", "STAGE_DEFAULTS", _DEFAULTS_003),
    (48, ".output_directory", "where artefacts go", "PipelineConfiguration.output_directory", _NAMES),
    (50, ".output_directory default", "the home", "PipelineConfiguration.output_directory", _OWN),
    (51, ".resume_from_checkpoint", "", "PipelineConfiguration.resume_from_checkpoint", _NAMES),
    (52, ".resume_from_checkpoint default", "false", "PipelineConfiguration.resume_from_checkpoint", _DEFAULTS_003),
    (53, ".skip_phases", "", "PipelineConfiguration.skip_phases", _NAMES),
    *(
        (54, f".skip_phases {phase}", "a value", "SkipPhase", "test_phases_that_may_be_skipped")
        for phase in ("corpus_download", "tokenizer_training")
    ),
    (55, ".skip_phases default", "empty", "PipelineConfiguration.skip_phases", _DEFAULTS_003),
    (63, " num_heads divides d_model", "", "ModelArchitecture", "test_heads_divide_the_width"),
]


def _built(module: str, place: str) -> str:
    return f"studio.config.{place}" if ":" in place else f"studio.config.{module}:{place}"


def _entries(spec: str, module: str, rows: list[tuple[int, str, str, str, str]], tests: str) -> list[Entry]:
    return [
        Entry(f"{spec} {name}", line, what or name, _built(module, place), tests + test)
        for line, name, what, place, test in rows
    ]


ENTRIES = [
    *_entries("001", "model", _MODEL, MODEL),
    *_entries("001", "training", _TRAINING, TRAINING),
    *_entries("001", "generation", _GENERATION, GENERATION),
    *_entries("001", "text", _TEXT, TEXT),
    *(Entry(f"002 {name}", line, name, _built("", place), test) for line, name, place, test in _TEXTS_002),
    *_entries(
        "003",
        "pipeline",
        [(line, f"PipelineConfiguration{name}", what, place, test) for line, name, what, place, test in _PIPELINE],
        PIPELINE,
    ),
    *(
        Entry(
            f"003 PipelineConfiguration.tokenizer_model_type {kind}",
            34,
            "a value",
            "studio.config.text:TokenizerType",
            TEXT + "test_tokenizer_types",
        )
        for kind in ("unigram", "bpe", "char", "word")
    ),
    Entry(
        "003 new configuration keys have defaults",
        329,
        "an old file without newer keys opens",
        "studio.config.pipeline:PipelineConfiguration",
        SAVED + "test_every_new_key_has_a_default",
    ),
    Entry(
        "003 renamed configuration keys migrate",
        330,
        "numbered migrations",
        "studio.config.migrations:MIGRATIONS",
        SAVED + "test_a_renamed_key_of_version_1_opens",
    ),
    Entry(
        "003 removed configuration keys in changelog",
        331,
        "CHANGELOG names renamed and removed keys",
        "CHANGELOG.md",
        "tests/test_repository.py::test_the_changelog_names_every_migrated_key",
    ),
]

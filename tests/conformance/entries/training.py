"""Floors 3 and 5: checkpoints (001, 002 §4.1, 003), training metrics (002 §5.1-5.2, 003)."""

from tests.conformance.entry import Entry

_CHECKPOINT = "studio.nn.checkpoint"
_UNIT = "tests/nn/test_checkpoint.py"
_WHOLE = "tests/acceptance/test_checkpoints.py"
_RUN = "tests/training/test_run.py"
_VERDICTS = "tests/training/test_metrics.py"
_FLIPPED = f"{_WHOLE}::test_one_flipped_byte_in_any_file_is_refused_and_the_file_named"
_LAYOUT = f"{_WHOLE}::test_the_layout_is_that_of_002_with_the_state_beside_it"
_LIFE = f"{_UNIT}::test_lifecycle_of_001"
_PAIRS = f"{_UNIT}::test_every_pair_of_states"
_TOLD = f"{_RUN}::test_it_learns_and_tells_002s_metrics"
_EPOCHS = f"{_RUN}::test_epochs_have_003s_fields_and_checkpoints_their_names"
_REFUSED = f"{_RUN}::test_another_vocabulary_or_architecture_is_refused"


def _file(line: int, name: str, what: str, built: str = "write_checkpoint") -> Entry:
    return Entry(f"002 checkpoint/{name}", line, what, f"{_CHECKPOINT}:{built}", _LAYOUT)


def _epoch(line: int, field: str, what: str) -> Entry:
    return Entry(f"003 EpochMetrics.{field}", line, what, "studio.training.metrics:EpochMetrics", _EPOCHS)


def _verdict(line: int, field: str, what: str, test: str) -> Entry:
    return Entry(
        f"003 TrainingMetrics.final_metrics.{field}",
        line,
        what,
        "studio.training.metrics:judge",
        f"{_VERDICTS}::{test}",
    )


def _snapshot(line: int, field: str, what: str, built: str = "TrainingCheckpoint.read") -> Entry:
    return Entry(f"003 TrainingCheckpoint.{field}", line, what, f"studio.training.resume:{built}", _EPOCHS)


ENTRIES = [
    Entry("001 ModelCheckpoint", 13, "a saved state of a model", f"{_CHECKPOINT}:ModelCheckpoint", _LIFE),
    Entry(
        "001 ModelCheckpoint.weights",
        18,
        "weights by parameter name, read when asked",
        f"{_CHECKPOINT}:ModelCheckpoint.load",
        _LIFE,
    ),
    Entry("001 ModelCheckpoint.config", 19, "ModelConfig, from config.json", f"{_CHECKPOINT}:read_config", _LIFE),
    Entry(
        "001 ModelCheckpoint.metadata",
        20,
        "metadata: step, epoch, metrics, parents, time",
        f"{_CHECKPOINT}:CheckpointMetadata",
        _LIFE,
    ),
    Entry(
        "001 ModelCheckpoint.version",
        21,
        "version of the format and of the weights",
        f"{_CHECKPOINT}:FORMAT_VERSION",
        f"{_UNIT}::test_another_major_format_is_refused",
    ),
    Entry("001 ModelCheckpoint.checksum", 22, "checksum: CRC32, u32", "studio.nn.checkpoint_files:checksum_of", _LIFE),
    Entry(
        "001 ModelCheckpoint all weights present",
        29,
        "all weights are present",
        f"{_CHECKPOINT}:load_weights",
        f"{_UNIT}::test_all_weights_must_be_there_and_fit",
    ),
    Entry(
        "001 ModelCheckpoint config matches architecture",
        30,
        "config and architecture match",
        f"{_CHECKPOINT}:load_weights",
        f"{_UNIT}::test_all_weights_must_be_there_and_fit",
    ),
    Entry(
        "001 ModelCheckpoint checksum validates on load",
        31,
        "every file's checksum is checked on load",
        f"{_CHECKPOINT}:verify_checkpoint",
        _FLIPPED,
    ),
    Entry(
        "001 ModelCheckpoint version compatible",
        32,
        "another MAJOR format version is refused",
        f"{_CHECKPOINT}:verify_checkpoint",
        f"{_UNIT}::test_another_major_format_is_refused",
    ),
    *(
        Entry(f"001 ModelCheckpoint {move}", line, move, "studio.nn.checkpoint_state:LIFECYCLE", _PAIRS)
        for line, move in (
            (35, "Created→Saved"),
            (36, "Saved→Loaded"),
            (37, "Loaded→Validated"),
            (289, "Validated→Saved"),
        )
    ),
    Entry(
        "001 checkpoint integrity",
        279,
        "checksums validate, versions fit",
        f"{_CHECKPOINT}:verify_checkpoint",
        _FLIPPED,
    ),
    _file(267, "config.json", "architecture, readable by transformers", "hf_config"),
    _file(268, "generation_config.json", "defaults of generation"),
    _file(269, "model.safetensors", "weights under transformers' names"),
    _file(270, "tokenizer.json", "the tokenizer"),
    _file(271, "tokenizer_config.json", "with the chat template"),
    _file(272, "special_tokens_map.json", "always there (DESIGN §3)"),
    _file(273, "trainer_state.json", "step, epoch, log history, best"),
    _file(274, "training_args.bin", "written for other tools, never read"),
    *(
        Entry(f"002 {name}", line, name, "studio.training.callbacks:StepBoundary", _TOLD)
        for line, name in (
            (306, "loss"),
            (307, "learning_rate"),
            (308, "epoch"),
            (309, "global_step"),
            (310, "grad_norm"),
            (311, "train_samples_per_second"),
        )
    ),
    *(
        Entry(f"002 {name}", line, name, "studio.training.evaluation:evaluate", _TOLD)
        for line, name in ((317, "eval_loss"), (318, "perplexity"), (319, "accuracy"))
    ),
    Entry(
        "003 TrainingMetrics",
        113,
        "per-epoch statistics and verdicts",
        "studio.training.metrics:TrainingMetrics",
        _EPOCHS,
    ),
    Entry(
        "003 TrainingMetrics.run_id",
        118,
        "run_id: the pipeline's id",
        "studio.training.run:TrainingJob",
        f"{_VERDICTS}::test_training_metrics_survive_the_disk",
    ),
    Entry(
        "003 TrainingMetrics.epoch_history",
        119,
        "epoch_history in order",
        "studio.training.metrics:TrainingMetrics",
        _EPOCHS,
    ),
    Entry("003 EpochMetrics", 120, "one epoch", "studio.training.metrics:EpochMetrics", _EPOCHS),
    _epoch(121, "epoch_number", "from 1"),
    _epoch(122, "train_loss", "mean over the epoch's trained tokens"),
    _epoch(123, "validation_loss", "on held-out documents"),
    _epoch(124, "learning_rate", "at the end of the epoch"),
    _epoch(125, "elapsed_seconds", "time of the epoch"),
    _epoch(126, "sample_outputs", "answers to the configured prompts"),
    _epoch(127, "gradient_norm", "mean, before clipping"),
    Entry(
        "003 TrainingMetrics.final_metrics",
        128,
        "verdicts over the run",
        "studio.training.metrics:FinalMetrics",
        _EPOCHS,
    ),
    _verdict(129, "total_training_time", "sum over the epochs, seconds", "test_verdicts_over_a_history"),
    _verdict(130, "best_epoch", "lowest validation loss", "test_verdicts_over_a_history"),
    _verdict(
        131,
        "convergence_achieved",
        "variance of the last 3 validation losses < 1e-3 (DESIGN §3)",
        "test_convergence_is_the_variance_of_the_last_three",
    ),
    _verdict(132, "overfitting_detected", "gap > 0.5", "test_overfitting_is_a_gap_above_half_a_nat"),
    Entry(
        "003 training_metrics.json",
        139,
        "written atomically beside the checkpoints",
        "studio.training.run:TRAINING_METRICS",
        _EPOCHS,
    ),
    Entry(
        "003 TrainingMetrics is JSON",
        140,
        "plain JSON that reads back",
        "studio.training.metrics:TrainingMetrics.read",
        f"{_VERDICTS}::test_training_metrics_survive_the_disk",
    ),
    Entry(
        "003 TrainingCheckpoint",
        144,
        "what a checkpoint says about the training",
        "studio.training.resume:TrainingCheckpoint",
        _EPOCHS,
    ),
    _snapshot(149, "epoch", "whole epochs done"),
    _snapshot(150, "model_state", "weights by layer name", "TrainingCheckpoint.model_state"),
    _snapshot(153, "optimizer_state", "momentum and variance", "TrainingCheckpoint.optimizer_state"),
    _snapshot(154, "training_config", "the configuration as its owner knew it"),
    _snapshot(155, "loss_history", "losses per epoch"),
    _snapshot(156, "loss_history.train_losses", "training losses per epoch"),
    _snapshot(157, "loss_history.val_losses", "validation losses per epoch"),
    _snapshot(158, "checkpoint_path", "its directory"),
    Entry(
        "003 checkpoint_epoch_N",
        159,
        "a directory checkpoint_epoch_N or checkpoint_step_N (DESIGN §3)",
        "studio.nn.checkpoint:list_checkpoints",
        _EPOCHS,
    ),
    Entry(
        "003 resume vocabulary matches", 166, "refused otherwise", "studio.training.resume:ensure_compatible", _REFUSED
    ),
    Entry(
        "003 resume architecture matches",
        167,
        "refused otherwise",
        "studio.training.resume:ensure_compatible",
        _REFUSED,
    ),
    Entry(
        "003 resume accepts other hyperparameters",
        168,
        "hyperparameters of the new configuration hold",
        "studio.training.modules:LanguageModule.apply_current_settings",
        f"{_RUN}::test_hyperparameters_may_change_on_resume",
    ),
    *(
        Entry(f"003 version {level}", line, what, "studio.nn.checkpoint:next_version", f"{_UNIT}::test_versions_of_003")
        for line, level, what in (
            (324, "MAJOR on vocabulary", "another vocabulary"),
            (325, "MINOR on architecture", "another architecture"),
            (326, "PATCH on weights", "new weights or hyperparameters"),
        )
    ),
    Entry(
        "003 checkpoints loadable",
        339,
        "loadable without corruption, or refused",
        f"{_CHECKPOINT}:load_model",
        _FLIPPED,
    ),
    Entry(
        "003 metrics parseable",
        340,
        "JSON metrics read back and are valid",
        "studio.training.metrics:TrainingMetrics.read",
        f"{_VERDICTS}::test_training_metrics_survive_the_disk",
    ),
    Entry(
        "003 oom names a batch size",
        350,
        "names the batch that fits",
        "studio.training.memory:explain",
        "tests/faults/test_training_faults.py::test_out_of_memory_names_the_batch_that_fits_and_the_retry_finishes",
    ),
]

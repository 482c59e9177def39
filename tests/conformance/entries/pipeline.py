"""Spec 003: the status entity, its transitions, the checks before and after a run, and how errors are handled."""

from tests.conformance.entry import Entry

_STATUS = "studio.pipeline.status"
_TRANSITIONS = "studio.records.lifecycles:PIPELINE"
_BEFORE = "studio.pipeline.stages.prerequisites"
_AFTER = "studio.pipeline.stages.validation"
_STATUS_TEST = "tests/pipeline/test_status.py"
_RUN_TEST = "tests/pipeline/test_run.py"
_RUNNER_TEST = "tests/pipeline/test_runner.py"
_FAULT_TEST = "tests/faults/test_pipeline_faults.py"
_REAL_TEST = "tests/acceptance/test_pipeline.py"


def _field(line: int, name: str, what: str, built: str, test: str) -> Entry:
    return Entry(f"003 PipelineStatus.{name}", line, what, f"{_STATUS}:{built}", test)


def _rule(line: int, name: str, what: str, built: str, test: str) -> Entry:
    return Entry(f"003 {name}", line, what, built, test)


_PHASES = ("prerequisite_check", "corpus_download", "tokenizer_training", "model_training", "validation")
_WRITTEN = f"{_STATUS_TEST}::test_the_file_gives_back_every_field"
_CATEGORY = f"{_RUNNER_TEST}::test_every_error_has_its_category_one_line_and_the_last_lines"
_PAIRS = f"{_STATUS_TEST}::test_every_pair_of_phases"
_RESULTS = f"{_RUN_TEST}::test_the_results_of_validation"

ENTRIES = [
    _rule(
        26,
        "PipelineConfiguration.corpus_source accessible",
        "HTTP 200 or the file exists, looked at before anything is made",
        f"{_BEFORE}:check_corpus",
        f"{_FAULT_TEST}::test_a_missing_corpus_is_found_before_anything_is_made",
    ),
    _rule(
        31,
        "PipelineConfiguration.tokenizer_vocab_size power",
        "another size than a power of two is a warning",
        f"{_BEFORE}:recommendations",
        f"{_RUN_TEST}::test_the_recommendations_of_003",
    ),
    _rule(
        49,
        "PipelineConfiguration.output_directory writable",
        "writable, with enough space",
        f"{_BEFORE}:check_output",
        f"{_RUN_TEST}::test_a_place_that_cannot_be_written_is_refused",
    ),
    _rule(
        62,
        "PipelineConfiguration batch and length within memory",
        "the estimate is reported, more than is free is a warning",
        f"{_BEFORE}:memory_estimate",
        f"{_RUN_TEST}::test_the_memory_estimate_grows_with_batch_and_length",
    ),
    _rule(
        64,
        "PipelineConfiguration learning rate against batch size",
        "a high rate with a large batch is a warning",
        f"{_BEFORE}:recommendations",
        f"{_RUN_TEST}::test_the_recommendations_of_003",
    ),
    _rule(68, "PipelineStatus", "the entity", f"{_STATUS}:PipelineStatus", _WRITTEN),
    _field(73, "pipeline_id", "UUID of the run", "PipelineStatus.pipeline_id", _WRITTEN),
    _field(
        74,
        "start_time",
        "when execution began; a resume keeps it",
        "PipelineStatus.start_time",
        f"{_STATUS_TEST}::test_a_failure_keeps_what_was_done_and_a_resume_goes_through_again",
    ),
    _field(
        75,
        "current_phase",
        "the active phase",
        "PipelineStatus.current_phase",
        f"{_RUNNER_TEST}::test_phases_run_in_order_and_status_is_true_while_they_run",
    ),
    *(
        _rule(
            76,
            f"PipelineStatus.current_phase {name}",
            f"the phase {name}",
            f"studio.records.lifecycles:PipelinePhase.{name.upper()}",
            _PAIRS,
        )
        for name in (*_PHASES, "complete", "failed")
    ),
    _rule(
        77,
        "PipelineStatus.current_phase in order",
        "strictly in order; only what skip_phases names may be passed over",
        f"{_STATUS}:phase_transitions",
        f"{_STATUS_TEST}::test_only_configured_phases_may_be_passed_over",
    ),
    _field(
        78,
        "completed_phases",
        "finished phases in order",
        "PipelineStatus.completed_phases",
        f"{_STATUS_TEST}::test_phases_complete_in_order_and_time_adds_up",
    ),
    _field(
        79,
        "phase_timings",
        "seconds per phase",
        "PipelineStatus.phase_timings",
        f"{_STATUS_TEST}::test_phases_complete_in_order_and_time_adds_up",
    ),
    _field(
        80,
        "artifacts_created",
        "paths of what was made",
        "PipelineStatus.artifacts_created",
        f"{_RUN_TEST}::test_every_artefact_is_there_and_not_empty",
    ),
    _field(82, "error_details", "why it failed", "PipelineStatus.error_details", _CATEGORY),
    _field(83, "error_details.failed_phase", "phase of the error", "ErrorDetails.failed_phase", _CATEGORY),
    _field(84, "error_details.error_type", "category", "ErrorDetails.error_type", _CATEGORY),
    *(
        _rule(
            84,
            f"PipelineStatus.error_details.error_type {name}",
            f"the category {name}",
            f"{_STATUS}:ErrorType.{name.upper()}",
            _CATEGORY,
        )
        for name in ("disk_space", "network", "oom", "validation_failure", "interrupted", "internal")
    ),
    _field(85, "error_details.error_message", "one line for a person", "ErrorDetails.error_message", _CATEGORY),
    _field(86, "error_details.stderr_output", "last 50 lines", "ErrorDetails.stderr_output", _CATEGORY),
    _field(87, "validation_results", "quality checks", "PipelineStatus.validation_results", _RESULTS),
    _field(88, "validation_results.sample_generations", "texts", "ValidationResults.sample_generations", _RESULTS),
    _field(89, "validation_results.final_train_loss", "nats per token", "ValidationResults.final_train_loss", _RESULTS),
    _field(90, "validation_results.final_val_loss", "nats per token", "ValidationResults.final_val_loss", _RESULTS),
    _field(
        91,
        "validation_results.inference_metrics",
        "measured by a slim process",
        "ValidationResults.inference_metrics",
        _RESULTS,
    ),
    _field(
        96,
        "validation_results.constitutional_compliance",
        "RSS at most 400 MB and peak at most 512 MB",
        "ValidationResults.constitutional_compliance",
        f"{_STATUS_TEST}::test_the_constitution",
    ),
    *(
        _rule(line, f"PipelineStatus {current}→{following}", "legal, and every other pair is not", _TRANSITIONS, _PAIRS)
        for line, current, wanted in zip(range(104, 109), _PHASES, (*_PHASES[1:], "complete"), strict=True)
        for following in (wanted, "failed")
    ),
    _rule(
        297,
        "disk space formula",
        "corpus + parameters x 4 bytes x 3 + 100 MB",
        f"{_BEFORE}:needed_disk_mb",
        f"{_RUN_TEST}::test_the_disk_formula_of_003",
    ),
    _rule(
        298,
        "disk space example",
        "2.45 M parameters need about 133 MB",
        f"{_BEFORE}:needed_disk_mb",
        f"{_RUN_TEST}::test_the_disk_formula_of_003",
    ),
    _rule(
        305,
        "training time under 10 minutes",
        "the bilingual job, up to 20 epochs",
        "conf/experiment/bilingual.yaml",
        f"{_REAL_TEST}::test_the_whole_run_is_under_ten_minutes",
    ),
    _rule(
        306,
        "time scales linearly",
        "steps, and with them time, are proportional to epochs and corpus",
        "studio.training.datamodule:TokenDataModule",
        f"{_RUN_TEST}::test_steps_are_proportional_to_epochs",
    ),
    _rule(
        309,
        "validation loss below 5.0",
        "validation fails above it",
        f"{_AFTER}:final_losses",
        f"{_REAL_TEST}::test_the_validation_loss_is_below_five",
    ),
    _rule(
        310,
        "coherent text",
        "at most 30 % repeated 4-grams",
        f"{_AFTER}:repeated_ngrams",
        f"{_REAL_TEST}::test_there_are_samples_in_both_languages",
    ),
    _rule(
        311,
        "bilingual samples",
        "samples in each language of the corpus",
        f"{_AFTER}:generate_samples",
        f"{_REAL_TEST}::test_there_are_samples_in_both_languages",
    ),
    _rule(
        338,
        "artefacts not empty",
        "checked by the validation phase",
        f"{_AFTER}:check_artefacts",
        f"{_RUN_TEST}::test_every_artefact_is_there_and_not_empty",
    ),
    _rule(
        343,
        "phases complete in order",
        "in the order of 003",
        "studio.pipeline.runner:PipelineRunner",
        f"{_RUN_TEST}::test_a_run_goes_through_every_phase",
    ),
    _rule(
        344,
        "model generates text",
        "samples that are not empty",
        f"{_AFTER}:generate_samples",
        f"{_RUN_TEST}::test_the_model_verifies_and_answers",
    ),
    _rule(
        345,
        "inference metrics within budget",
        "measured in a process without torch",
        f"{_AFTER}:measure_inference",
        _RESULTS,
    ),
    _rule(
        348,
        "full disk fails at prerequisite check",
        "before any download",
        f"{_BEFORE}:check_disk",
        f"{_FAULT_TEST}::test_a_full_disk_is_found_before_any_download",
    ),
    _rule(
        349,
        "network retried 3 times",
        "three tries with back-off, then network",
        "studio.pipeline.download:download",
        f"{_FAULT_TEST}::test_a_server_that_misbehaves_gets_three_tries_then_network",
    ),
]

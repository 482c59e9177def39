"""Floor 6: records, their rules and every lifecycle."""

from tests.conformance.entry import Entry

_ENTITIES = "studio.records.entities"
_TABLES = "studio.records.lifecycles"
_KEPT = "tests/records/test_entities.py::test_what_every_record_has"
_PAIR = "tests/records/test_lifecycles.py::test_every_pair"


def _field(line: int, name: str, what: str, built: str, test: str = _KEPT) -> Entry:
    return Entry(f"001 {name}", line, what, f"{_ENTITIES}:{built}", test)


def _move(document: str, line: int, kind: str, move: str, table: str) -> Entry:
    return Entry(f"{document} {kind} {move}", line, f"{move} is legal", f"{_TABLES}:{table}", _PAIR)


_SCORES = "tests/records/test_entities.py::test_scores_lie_between_nothing_and_one"
_FUTURE = "tests/records/test_entities.py::test_a_report_is_not_from_the_future"
_EXISTS = "tests/records/test_entities.py::test_a_new_report_needs_its_checkpoint"
_SOURCE = "tests/records/test_entities.py::test_a_dataset_needs_a_source"
_TOTAL = "tests/records/test_entities.py::test_total_tokens_is_the_sum_of_the_shards"
_SPECIAL = "tests/records/test_entities.py::test_special_tokens_need_an_id_in_the_vocabulary"

RECORDS = [
    _field(64, "Tokenizer", "a tokenizer as a record", "Tokenizer"),
    _field(
        81,
        "Tokenizer special tokens in vocab",
        "every special token has an id in the vocabulary",
        "Tokenizer",
        _SPECIAL,
    ),
    _field(13, "ModelCheckpoint", "a checkpoint as a record", "ModelCheckpoint"),
    _field(134, "EvaluationResult", "scores of one checkpoint: BenchmarkReport", "BenchmarkReport"),
    _field(139, "EvaluationResult.model_checkpoint", "path", "BenchmarkReport.model_checkpoint"),
    _field(140, "EvaluationResult.benchmark_scores", "name to score", "BenchmarkReport.benchmark_scores"),
    _field(141, "EvaluationResult.evaluation_date", "UTC", "BenchmarkReport.evaluation_date"),
    _field(142, "EvaluationResult.metrics", "loss, perplexity ...", "BenchmarkReport.metrics"),
    _field(143, "EvaluationResult.config", "architecture", "BenchmarkReport.config"),
    _field(150, "EvaluationResult.benchmark_scores range", "0 to 1", "BenchmarkReport.benchmark_scores", _SCORES),
    _field(151, "EvaluationResult evaluation date valid", "a UTC time, not in the future", "BenchmarkReport", _FUTURE),
    _field(
        152, "EvaluationResult checkpoint exists", "a new report is refused without it", "BenchmarkReport.of", _EXISTS
    ),
    _field(214, "TrainingDataset", "token dataset as a record: TokenDataset", "TokenDataset"),
    _field(219, "TrainingDataset.sources", "weighted sources", "TokenDataset.sources"),
    _field(220, "TrainingDataset.preprocessing_steps", "names, in order", "TokenDataset.preprocessing_steps"),
    _field(221, "TrainingDataset.total_tokens", "sum over the shards", "TokenDataset.total_tokens"),
    _field(222, "TrainingDataset.shards", "path and tokens of each", "TokenDataset.shards"),
    _field(223, "TrainingDataset.metadata", "name and version are fields of their own", "TokenDataset.metadata"),
    _field(230, "TrainingDataset at least one source", "none is refused", "TokenDataset.sources", _SOURCE),
    _field(232, "TrainingDataset total tokens is the sum", "any other total is refused", "TokenDataset", _TOTAL),
]

LIFECYCLES = [
    _move("001", 294, "TrainingSession", "Initialized→Training", "TRAINING_SESSION"),
    _move("001", 294, "TrainingSession", "Training→Saved", "TRAINING_SESSION"),
    _move("001", 294, "TrainingSession", "→Completed", "TRAINING_SESSION"),
    _move("001", 296, "TrainingSession", "→Interrupted", "TRAINING_SESSION"),
    _move("001", 298, "TrainingSession", "Interrupted→Resumed", "TRAINING_SESSION"),
    *(
        _move("003", line, "PipelineStatus", f"{phase}→{following}", "PIPELINE")
        for line, phase, after in (
            (104, "prerequisite_check", "corpus_download"),
            (105, "corpus_download", "tokenizer_training"),
            (106, "tokenizer_training", "model_training"),
            (107, "model_training", "validation"),
            (108, "validation", "complete"),
        )
        for following in (after, "failed")
    ),
    *(
        Entry(f"000 {kind} status transitions", line, "all of them, and no other", f"{_TABLES}:{table}", _PAIR)
        for line, kind, table in (
            (109, "Project", "PROJECT"),
            (118, "TrainingDataset", "DATASET"),
            (131, "Finetune", "FINETUNE"),
        )
    ),
    *(
        Entry(f"004 {kind}.status", line, "states of the spec, moves of the design", f"{_TABLES}:{table}", _PAIR)
        for line, kind, table in (
            (57, "Model", "MODEL"),
            (243, "EvaluationRun", "EVALUATION_RUN"),
            (458, "ABTest", "AB_TEST"),
            (517, "Experiment", "EXPERIMENT"),
            (565, "ExperimentRun", "EXPERIMENT_RUN"),
        )
    ),
]

_SUMMARY = (
    (
        280,
        "context limits",
        "a context window longer than the context is refused",
        "studio.inference.sessions:ConversationSession",
        "tests/inference/test_sessions.py::test_a_context_window_longer_than_the_context_is_refused",
    ),
    (
        282,
        "data consistency",
        "vocabulary, its inverse and special tokens agree",
        "studio.text.tokenizers:Tokenizer.load",
        "tests/text/test_tokenizers.py::test_inconsistent_files_are_refused",
    ),
    (
        283,
        "file existence",
        "what a record or a dataset refers to must be there",
        "studio.records.entities:BenchmarkReport.of",
        _EXISTS,
    ),
)

ENTRIES = [
    *RECORDS,
    *LIFECYCLES,
    *(Entry(f"001 {name}", line, what, built, test) for line, name, what, built, test in _SUMMARY),
]

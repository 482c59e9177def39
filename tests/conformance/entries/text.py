"""Text: 001 Tokenizer, TrainingDataset and DataSource as they are on disk and in memory, and 003's tokenizer values."""

from tests.conformance.entry import Entry

TOKENIZERS = "tests/text/test_tokenizers.py::"
SHARDS = "tests/text/test_shards.py::"
ACCEPTANCE = "tests/acceptance/test_text.py::"

_FILES = "test_files_come_back"
_HARMED = "test_inconsistent_files_are_refused"
_TOKENIZER = [
    (64, "Tokenizer", "text to ids and back", "Tokenizer", "test_hard_texts_survive"),
    (69, "Tokenizer.vocab", "token to id", "Tokenizer.vocab", _FILES),
    (70, "Tokenizer.vocab_inverse", "id to token", "Tokenizer.vocab_inverse", _FILES),
    (71, "Tokenizer.special_tokens", "name to id", "Tokenizer.special_tokens", "test_special_tokens_have_their_ids"),
    (72, "Tokenizer.vocab_size", "all tokens", "Tokenizer.vocab_size", "test_vocab_size_is_exact_or_says_why_not"),
    (73, "Tokenizer.merges", "rules of bpe", "Tokenizer.merges", "test_bpe_merges_are_pairs_of_known_tokens"),
    (80, "Tokenizer vocab and inverse consistent", "ids 0 to n - 1, each once", "Tokenizer.load", _HARMED),
    (81, "Tokenizer special tokens in vocab", "each with its own id", "Tokenizer.load", _HARMED),
    (82, "Tokenizer vocab size matches", "no token twice", "Tokenizer.load", "test_twice_named_token_is_refused"),
    (83, "Tokenizer merges valid", "both parts and the whole are tokens", "Tokenizer.load", _HARMED),
]

_MOVES = [
    Entry(
        f"001 Tokenizer {move}",
        86,
        f"one move of its lifecycle: {move}",
        "studio.text.tokenizer_state:TOKENIZER_STATES",
        f"{TOKENIZERS}test_a_tokenizer_goes_through_its_states",
    )
    for move in ("Untrained→Training", "Training→Trained", "Trained→Loaded")
]

_MANIFEST = "test_manifest_says_what_it_is_made_of"
_DATASET = [
    (
        214,
        "TrainingDataset",
        "a token dataset",
        "TokenDataset",
        "test_every_document_is_there_once_between_bos_and_eos",
    ),
    (219, "TrainingDataset.sources", "as configured", "TokenDataset.sources", _MANIFEST),
    (
        220,
        "TrainingDataset.preprocessing_steps",
        "in order",
        "TokenDataset.preprocessing_steps",
        "test_steps_before_are_kept",
    ),
    (221, "TrainingDataset.total_tokens", "of all shards", "TokenDataset.total_tokens", _MANIFEST),
    (
        222,
        "TrainingDataset.shards",
        "files with checksums",
        "TokenDataset.shards",
        "test_every_shard_file_must_exist_whole",
    ),
    (223, "TrainingDataset.metadata", "name, version, kind and sizes", "TokenDataset.metadata", _MANIFEST),
    (230, "TrainingDataset at least one source", "else refused", "TokenDataset.open", "test_a_source_is_required"),
    (
        231,
        "TrainingDataset shard files exist",
        "else refused",
        "TokenDataset.open",
        "test_every_shard_file_must_exist_whole",
    ),
    (
        232,
        "TrainingDataset total tokens is the sum",
        "else refused",
        "TokenDataset.open",
        "test_total_tokens_must_be_the_sum_of_the_shards",
    ),
]

_SOURCE = [
    (241, "DataSource.format Text", "plain text is read", "test_text_and_markdown"),
    (241, "DataSource.format JSONL", "JSON lines are read", "test_rows_of_every_format_become_the_same_documents"),
    (250, "DataSource format supported", "an unknown one is refused", "test_declared_language_and_format_win"),
]

ENTRIES = [
    *_MOVES,
    *(
        Entry(f"001 {name}", line, what, f"studio.text.tokenizers:{built}", TOKENIZERS + test)
        for line, name, what, built, test in _TOKENIZER
    ),
    *(
        Entry(f"001 {name}", line, what, f"studio.text.token_dataset:{built}", SHARDS + test)
        for line, name, what, built, test in _DATASET
    ),
    *(
        Entry(
            f"001 {name}", line, what, "studio.text.documents:read_documents", "tests/text/test_documents.py::" + test
        )
        for line, name, what, test in _SOURCE
    ),
    Entry(
        "001 DataSource.weight",
        242,
        "share of the tokens",
        "studio.text.token_streams:mixture",
        SHARDS + "test_weights_give_each_source_its_share",
    ),
    *(
        Entry(
            f"003 PipelineConfiguration.tokenizer_model_type {kind}",
            34,
            f"{kind} tokenizers",
            "studio.text.vocabularies:train_backend",
            ACCEPTANCE + "test_any_unicode_text_comes_back",
        )
        for kind in ("unigram", "bpe", "char", "word")
    ),
    Entry(
        "003 PipelineConfiguration.tokenizer_vocab_size",
        30,
        "exactly as many tokens as asked for",
        "studio.text.tokenizers:train_tokenizer",
        ACCEPTANCE + "test_unigram_of_the_bilingual_corpus",
    ),
]

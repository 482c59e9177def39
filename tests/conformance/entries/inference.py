"""Spec 001's conversations and inference lifecycle, 003's inference metrics and budget."""

from tests.conformance.entry import Entry

_SESSIONS = "studio.inference.sessions"
_TEST = "tests/inference/test_sessions.py"
_PROBE_TEST = "tests/inference/test_probe.py::test_it_prints_the_four_figures_of_003"
_EVERY_PAIR = f"{_TEST}::test_every_pair_of_states"


def _session(line: int, name: str, what: str, test: str) -> Entry:
    built = f"{_SESSIONS}:ConversationSession.{name}"
    return Entry(f"001 ConversationSession.{name}", line, what, built, f"{_TEST}::{test}")


def _message(line: int, name: str, what: str, test: str) -> Entry:
    return Entry(f"001 Message.{name}", line, what, f"{_SESSIONS}:Message.{name}", f"{_TEST}::{test}")


def _role(name: str) -> Entry:
    return Entry(
        f"001 Message.role {name}",
        180,
        f"a message of the {name}",
        f"{_SESSIONS}:MessageRole.{name.upper()}",
        f"{_TEST}::test_an_answer_becomes_a_message",
    )


def _rule(line: int, name: str, what: str, built: str, test: str) -> Entry:
    return Entry(f"001 {name}", line, what, f"{_SESSIONS}:{built}", f"{_TEST}::{test}")


def _move(line: int, name: str, what: str) -> Entry:
    return Entry(
        f"001 InferenceSession {name}", line, what, "studio.inference.session_state:INFERENCE_STATES", _EVERY_PAIR
    )


def _metric(line: int, name: str, what: str) -> Entry:
    return Entry(f"003 inference_metrics.{name}", line, what, "studio.inference.probe:measure", _PROBE_TEST)


ENTRIES = [
    Entry(
        "001 ConversationSession",
        154,
        "a conversation with its history and what the model sees of it",
        f"{_SESSIONS}:ConversationSession",
        f"{_TEST}::test_an_answer_becomes_a_message",
    ),
    _session(159, "session_id", "its own id", "test_ids_are_unique_and_activity_is_noted"),
    _session(160, "messages", "the whole history", "test_an_answer_becomes_a_message"),
    _session(161, "context_window", "ids of the last prompt and answer", "test_an_answer_becomes_a_message"),
    _session(
        162, "generation_params", "how answers are drawn", "test_an_explicit_length_takes_its_room_from_the_history"
    ),
    _session(163, "created_at", "when it began", "test_ids_are_unique_and_activity_is_noted"),
    _session(164, "last_activity", "when something was last said", "test_ids_are_unique_and_activity_is_noted"),
    _rule(
        171,
        "ConversationSession context window at most sequence length",
        "never more ids than the model's context",
        "ConversationSession.view",
        "test_a_long_conversation_goes_on_and_says_what_left_the_view",
    ),
    _rule(
        172,
        "ConversationSession messages chronological",
        "no message before the one it follows",
        "ConversationSession.append",
        "test_messages_are_chronological",
    ),
    _rule(
        173,
        "ConversationSession session id unique",
        "an id names one open conversation",
        "SessionBook.add",
        "test_an_id_names_one_session",
    ),
    Entry(
        "001 Message",
        175,
        "one message",
        f"{_SESSIONS}:Message",
        f"{_TEST}::test_a_message_counts_the_tokens_of_its_content",
    ),
    _message(180, "role", "who speaks", "test_a_message_counts_the_tokens_of_its_content"),
    _role("user"),
    _role("assistant"),
    _role("system"),
    _message(181, "content", "what is said", "test_a_message_needs_content_and_a_known_role"),
    _message(182, "timestamp", "when it was said", "test_messages_are_chronological"),
    _message(183, "token_count", "tokens of the content", "test_a_message_counts_the_tokens_of_its_content"),
    _rule(
        189,
        "Message content not empty",
        "an empty message is refused",
        "Message.create",
        "test_a_message_needs_content_and_a_known_role",
    ),
    _rule(
        190,
        "Message role valid",
        "an unknown role is refused",
        "Message.create",
        "test_a_message_needs_content_and_a_known_role",
    ),
    _rule(
        191,
        "Message token count matches",
        "a wrong token count is refused",
        "Message.check",
        "test_a_wrong_token_count_is_refused",
    ),
    _move(303, "Created→Loaded", "a session gets a model"),
    _move(303, "Loaded→Ready", "it can be asked"),
    _move(303, "Ready→Processing", "the prompt is being read"),
    _move(303, "Processing→Streaming", "the first token is there"),
    _move(303, "Streaming→Complete", "the answer is whole"),
    _move(305, "→Error", "what went wrong ends the answer, not the session"),
    _metric(92, "latency_p95_ms", "95th percentile of the next token's time"),
    _metric(93, "tokens_per_sec", "one stream's speed"),
    _metric(94, "rss_mb", "resident memory while decoding"),
    _metric(95, "peak_mb", "largest resident memory"),
    Entry(
        "003 inference memory budget",
        302,
        "RSS and peak of a process that only serves",
        "studio.inference.probe:measure",
        "tests/acceptance/test_inference.py::test_the_slim_process_keeps_003s_budget_without_torch",
    ),
]

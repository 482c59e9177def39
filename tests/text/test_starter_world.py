"""The starter world's files: the same bytes each time, nothing held out in training text, right grammar and sizes."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from studio.core.errors import UsageError
from studio.core.fsio import sha256_json
from studio.text.starter import grammar
from studio.text.starter.facts import make_world
from studio.text.starter.lexicon import (
    ANIMALS,
    COLOURS,
    FOODS,
    JOBS,
    LANGUAGES,
    NAMES,
    OBJECTS,
    PLACES,
    QUALITIES,
    TOWNS,
    Adjective,
    Noun,
)
from studio.text.starter.scoring import Case, chance, read_cases
from studio.text.starter.split import make_split
from studio.text.starter.world import (
    CASES_PER_LANGUAGE,
    GENERATOR_VERSION,
    PRETRAIN_BYTES,
    StarterManifest,
    generate_starter,
)

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StarterManifest]:
    folder = tmp_path_factory.mktemp("starter")
    return folder, generate_starter(folder, seed=1337)


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def cases(world: tuple[Path, StarterManifest]) -> list[Case]:
    return read_cases(world[0] / "heldout.jsonl")


@pytest.fixture(scope="module")
def training_texts(world: tuple[Path, StarterManifest]) -> list[str]:
    """Every document, every message and every preference prompt and answer."""
    folder = world[0]
    texts = [row["text"] for language in LANGUAGES for row in rows(folder / "pretrain" / f"{language}.jsonl")]
    texts += [message["content"] for row in rows(folder / "sft.jsonl") for message in row["messages"]]
    texts += [row[key] for row in rows(folder / "preferences.jsonl") for key in ("prompt", "chosen", "rejected")]
    return texts


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = generate_starter(tmp_path / "a", seed=7, scale=0.02)
    second = generate_starter(tmp_path / "b", seed=7, scale=0.02)
    assert first == second
    for name in first.files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = generate_starter(tmp_path / "c", seed=8, scale=0.02)
    assert not set(first.files.values()) & set(other.files.values())


def test_other_bytes_come_with_another_generator_version(tmp_path: Path) -> None:
    """When this fails, raise GENERATOR_VERSION and write the new hash here: kept worlds must not pass for new ones."""
    files = generate_starter(tmp_path, seed=7, scale=0.02).files
    assert (GENERATOR_VERSION, sha256_json(files)[:16]) == (2, "ec65350d912716ba")


def test_a_smaller_world_has_all_held_out_cases(tmp_path: Path) -> None:
    manifest = generate_starter(tmp_path, seed=3, scale=0.02)
    assert manifest.cases == 2 * CASES_PER_LANGUAGE
    assert manifest.pretrain_bytes < 0.03 * PRETRAIN_BYTES


@pytest.mark.parametrize(("seed", "scale"), [(1, 0.0), (1, -1.0), (1, float("nan")), (-1, 1.0)])
def test_impossible_worlds_are_refused(tmp_path: Path, seed: int, scale: float) -> None:
    with pytest.raises(UsageError):
        generate_starter(tmp_path, seed=seed, scale=scale)


def test_sizes(world: tuple[Path, StarterManifest], cases: list[Case]) -> None:
    folder, manifest = world
    assert PRETRAIN_BYTES <= manifest.pretrain_bytes < 1.02 * PRETRAIN_BYTES
    assert 60 <= len(make_world(1337).entities) + len(OBJECTS) + len(ANIMALS) + len(FOODS) <= 120
    assert Counter(case.language for case in cases) == dict.fromkeys(LANGUAGES, CASES_PER_LANGUAGE)
    assert len(rows(folder / "sft.jsonl")) == manifest.conversations
    assert len(rows(folder / "preferences.jsonl")) == manifest.preferences


def test_no_held_out_question_in_training(training_texts: list[str], cases: list[Case]) -> None:
    everything = "\n".join(training_texts)
    for case in cases:
        assert case.question not in everything
        assert not case.story or case.story not in everything


def test_no_held_out_translation_in_training(training_texts: list[str]) -> None:
    held_out, asked = _held_out_phrases(), 0
    for text in training_texts:
        if "Spanish: " in text or "inglés: " in text:
            asked += 1
            phrase = text.split(": ", 1)[1].rstrip(".?")
            assert phrase not in held_out, text
    assert asked > 100


def test_every_wording_of_a_sum_but_one_is_taught() -> None:
    split = make_split(make_world(1337), 1337)
    for asked in split.all_sums:
        for language in LANGUAGES:
            taught = split.training_sum_questions(asked, language)
            assert len(taught) == len(asked.questions(language)) - 1


def test_a_story_has_each_kind_of_deed_at_most_once(cases: list[Case]) -> None:
    """So a question has one right answer, and it stands in the story."""
    for case in cases:
        if case.kind == "story":
            assert case.story.count(case.answer) == 1


def _held_out_phrases() -> set[str]:
    held = make_split(make_world(1337), 1337).translations
    pairs = [(a, n) for a in COLOURS for n in OBJECTS] + [(a, n) for a in QUALITIES for n in PLACES]
    return {grammar.definite(a, n, language) for a, n in pairs if (a.eng, n.eng) in held for language in LANGUAGES}


def test_questions_are_new_and_answers_many(cases: list[Case]) -> None:
    assert len({case.question for case in cases}) == len(cases)
    for language in LANGUAGES:
        own = [case for case in cases if case.language == language]
        assert chance(case.answer for case in own) <= 0.02
        stories = [case for case in own if case.kind == "story"]
        assert len(stories) * 3 >= len(own)
        # The answer must be read: its words are in the story, and stories differ in it.
        assert all(case.story and case.question.startswith(case.story) for case in stories)
        assert chance(case.answer for case in stories) <= 0.06


def test_a_blind_guess_among_training_answers_is_rarely_right(
    world: tuple[Path, StarterManifest], cases: list[Case]
) -> None:
    """The answer that training gives most often, and a random one, are right in at most 2 % of the cases."""
    answers = Counter(
        message["content"]
        for row in rows(world[0] / "sft.jsonl")
        for message in row["messages"]
        if message["role"] == "assistant"
    )
    for language in LANGUAGES:
        expected = Counter(case.answer for case in cases if case.language == language)
        assert expected[answers.most_common(1)[0][0]] <= 0.02 * CASES_PER_LANGUAGE
        random_guess = sum(n * answers[answer] for answer, n in expected.items()) / answers.total() / expected.total()
        assert random_guess <= 0.02


def test_preference_pairs_differ(world: tuple[Path, StarterManifest]) -> None:
    pairs = rows(world[0] / "preferences.jsonl")
    assert {row["flaw"] for row in pairs} == {"wrong", "language", "long"}
    for row in pairs:
        assert row["prompt"]
        assert row["chosen"] != row["rejected"]


def test_conversations_alternate_and_end_with_an_answer(world: tuple[Path, StarterManifest]) -> None:
    for row in rows(world[0] / "sft.jsonl"):
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() == message["content"] != "" for message in row["messages"])


def test_a_case_can_be_answered_from_training_or_from_its_story(training_texts: list[str], cases: list[Case]) -> None:
    """A fact's and a sum's answer is taught (in another wording of the question), a story's stands in its question."""
    everything = "\n".join(training_texts)
    assert all(case.answer in everything for case in cases if case.kind in ("fact", "sum"))
    assert all(case.answer in case.question for case in cases if case.kind == "story")


ARTICLES = {"el": "m", "un": "m", "la": "f", "una": "f"}


def _spanish_phrases() -> dict[str, str]:
    """`adjective form -> m, f or both` for a check that does not use the generator's own agreement."""
    forms: dict[str, str] = {}
    for adjective in (*COLOURS, *QUALITIES):
        both = adjective.masculine == adjective.feminine
        forms[adjective.masculine] = "mf" if both else "m"
        forms[adjective.feminine] = "mf" if both else "f"
    return forms


def test_spanish_articles_nouns_and_adjectives_agree(training_texts: list[str]) -> None:
    genders = {noun.spa: noun.gender for noun in (*OBJECTS, *PLACES, *ANIMALS)}
    adjectives = _spanish_phrases()
    seen = 0
    for text in training_texts:
        words = text.replace(".", " .").replace("?", " ?").replace(":", " :").replace("\n", " . ").lower().split()
        for article, noun, adjective in zip(words, words[1:], words[2:], strict=False):
            if article in ARTICLES and noun in genders and adjective in adjectives:
                seen += 1
                assert ARTICLES[article] == genders[noun], text
                assert genders[noun] in adjectives[adjective], text
    assert seen > 10_000


def test_english_articles_fit_the_next_word(training_texts: list[str]) -> None:
    for text in training_texts:
        words = text.replace("\n", " . ").split()
        for article, word in pairwise(words):
            if article in ("a", "A") and word.isalpha() and word.isascii() and "is" in text.split():
                assert word[0] not in "aeiou", text
            if article in ("an", "An"):
                assert word[0] in "aeiou", text


@pytest.mark.parametrize(
    ("adjective", "noun", "the_eng", "the_spa", "a_eng", "a_spa"),
    [
        ("red", "ball", "the red ball", "la pelota roja", "a red ball", "una pelota roja"),
        ("blue", "kite", "the blue kite", "la cometa azul", "a blue kite", "una cometa azul"),
        ("orange", "clock", "the orange clock", "el reloj naranja", "an orange clock", "un reloj naranja"),
        ("brown", "map", "the brown map", "el mapa marrón", "a brown map", "un mapa marrón"),
        ("old", "castle", "the old castle", "el castillo viejo", "an old castle", "un castillo viejo"),
        ("cold", "tower", "the cold tower", "la torre fría", "a cold tower", "una torre fría"),
    ],
)
def test_phrases(adjective: str, noun: str, the_eng: str, the_spa: str, a_eng: str, a_spa: str) -> None:
    words = (_adjective(adjective), _noun(noun))
    assert grammar.definite(*words, "eng") == the_eng
    assert grammar.definite(*words, "spa") == the_spa
    assert grammar.indefinite(*words, "eng") == a_eng
    assert grammar.indefinite(*words, "spa") == a_spa


def test_jobs_agree_with_the_person() -> None:
    doctor = next(job for job in JOBS if job.eng == "doctor")
    assert grammar.job_title(doctor, "f", "spa") == "médica"
    assert grammar.job_title(doctor, "m", "spa") == "médico"
    assert grammar.job_title(doctor, "f", "eng") == "a doctor"


def test_no_word_has_two_meanings() -> None:
    names = [name.text for name in NAMES] + list(TOWNS)
    assert len(set(names)) == len(names)
    for nouns in (OBJECTS, PLACES, ANIMALS):
        assert len({noun.spa for noun in nouns}) == len({noun.eng for noun in nouns}) == len(nouns)
    for adjectives in (COLOURS, QUALITIES):
        assert len({a.eng for a in adjectives}) == len({a.masculine for a in adjectives}) == len(adjectives)


def _adjective(eng: str) -> Adjective:
    return next(a for a in (*COLOURS, *QUALITIES) if a.eng == eng)


def _noun(eng: str) -> Noun:
    return next(n for n in (*OBJECTS, *PLACES) if n.eng == eng)

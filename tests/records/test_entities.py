"""Records check themselves and survive the way into the file and back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from studio.config.model import ModelConfig
from studio.config.text import DataSource
from studio.core.clock import utc_now
from studio.core.errors import NotFoundError
from studio.core.ids import new_id
from studio.records import entities
from studio.records.entities import (
    ApiKey,
    BenchmarkReport,
    Corpus,
    Model,
    ModelCheckpoint,
    Organization,
    PipelineRun,
    Project,
    Shard,
    Stage,
    TokenDataset,
    Tokenizer,
    TrainingSession,
    User,
)
from studio.records.record import Record

CONFIG = ModelConfig(vocab_size=300)
SHA = "0" * 64
OWNER = new_id()


def examples() -> list[Record]:
    source = DataSource(source_type="file", path="a.txt")
    return [
        Organization(name="default"),
        User(name="ann", role=entities.Role.EDITOR),
        ApiKey(user_id=OWNER, name="ci", prefix="st-12", key_hash=SHA, expires_at=utc_now()),
        Project(name="p", owner_id=OWNER),
        Corpus(name="c", s3_path="s3://bucket/x", language="spa"),
        Tokenizer(name="t", vocab_size=300, special_tokens={"<|bos|>": 0}, sha256=SHA),
        TokenDataset(
            name="d", sources=(source,), total_tokens=5, shards=(Shard(path="0", tokens=2), Shard(path="1", tokens=3))
        ),
        ModelCheckpoint(path="ckpt", config=CONFIG, version="1.0.0", checksum=(1 << 32) - 1, stage=Stage.SFT),
        TrainingSession(name="s", stage=Stage.PRETRAIN, architecture=CONFIG, metrics={"loss": 1.5}),
        PipelineRun(name="r", phase_timings={"validation": 1.5}, error_details={"error_type": "oom"}),
        Model(name="m", path="models/m", tags=("a",)),
        BenchmarkReport(model_checkpoint="ckpt", benchmark_scores={"facts": 0.8}, config=CONFIG),
    ]


def test_every_entity_has_an_example() -> None:
    kinds = {
        kind
        for kind in vars(entities).values()
        if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
    }
    assert {type(example) for example in examples()} == kinds


@pytest.mark.parametrize("record", examples(), ids=lambda record: type(record).__name__)
def test_what_every_record_has(record: Record) -> None:
    stored = orjson.loads(orjson.dumps(record.model_dump(mode="json")))
    assert stored.keys() >= {"id", "organization_id", "created_at", "updated_at"}
    assert stored["created_at"].endswith("Z")
    assert type(record).model_validate(stored) == record
    with pytest.raises(ValidationError, match="frozen"):
        record.updated_at = utc_now()
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(record).model_validate({**stored, "colour": "red"})
    with pytest.raises(ValidationError, match="UUID"):
        type(record).model_validate({**stored, "id": "7"})
    with pytest.raises(ValidationError, match="offset"):
        type(record).model_validate({**stored, "created_at": datetime(2026, 1, 1)})


def test_an_organization_owns_itself() -> None:
    organization = Organization(name="x")
    assert organization.organization_id == organization.id


def test_a_model_is_named_on_its_platform() -> None:
    assert Model(name="m", path="models/m").platform_model_id == "models/m"
    model = Model(name="m")
    assert model.platform_model_id == model.id
    assert Model(name="m", platform="acme", platform_model_id="acme-1").platform_model_id == "acme-1"


@pytest.mark.parametrize("special", [{"<|bos|>": 300}, {"<|bos|>": -1}])
def test_special_tokens_need_an_id_in_the_vocabulary(special: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"<\|bos\|>"):
        Tokenizer(name="t", vocab_size=300, special_tokens=special)


def test_total_tokens_is_the_sum_of_the_shards() -> None:
    source = DataSource(source_type="file", path="a.txt")
    with pytest.raises(ValidationError, match="total_tokens is 4, the shards hold 5"):
        TokenDataset(name="d", sources=(source,), total_tokens=4, shards=(Shard(path="0", tokens=5),))


def test_a_dataset_needs_a_source() -> None:
    with pytest.raises(ValidationError, match="sources"):
        TokenDataset(name="d", sources=(), total_tokens=0)


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_scores_lie_between_nothing_and_one(score: float) -> None:
    with pytest.raises(ValidationError, match="benchmark_scores"):
        BenchmarkReport(model_checkpoint="c", benchmark_scores={"facts": score}, config=CONFIG)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_scores_at_the_ends(score: float) -> None:
    report = BenchmarkReport(model_checkpoint="c", benchmark_scores={"facts": score}, config=CONFIG)
    assert report.benchmark_scores == {"facts": score}


def test_a_report_is_not_from_the_future() -> None:
    with pytest.raises(ValidationError, match="future"):
        BenchmarkReport(model_checkpoint="c", evaluation_date=utc_now() + timedelta(days=2), config=CONFIG)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    assert BenchmarkReport(model_checkpoint="c", evaluation_date=past, config=CONFIG).evaluation_date == past


def test_a_new_report_needs_its_checkpoint(tmp_path: Path) -> None:
    report = BenchmarkReport.of(tmp_path, config=CONFIG, metrics={"loss": 1.0})
    assert report.model_checkpoint == str(tmp_path)
    with pytest.raises(NotFoundError, match="gone"):
        BenchmarkReport.of(tmp_path / "gone", config=CONFIG)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"version": "1.0"}, "version"),
        ({"checksum": 1 << 32}, "checksum"),
        ({"checksum": -1}, "checksum"),
        ({"path": ""}, "path"),
        ({"metadata": {"global_step": -1}}, "global_step"),
        ({"config": {"vocab_size": 0}}, "vocab_size"),
        ({"state": "Lost"}, "state"),
    ],
)
def test_a_checkpoint_checks_its_fields(changes: dict[str, Any], place: str) -> None:
    good: dict[str, Any] = {"path": "c", "config": {"vocab_size": 300}, "version": "1.0.0", "checksum": 0}
    ModelCheckpoint.model_validate(good)
    with pytest.raises(ValidationError, match=place):
        ModelCheckpoint.model_validate({**good, **changes})

"""Repositories: owners, lifecycles, unique names, and changes that keep what must not change."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio.core.errors import ConflictError, DataError, NotFoundError, TransitionError, UsageError
from studio.core.ids import new_id
from studio.core.paths import open_home
from studio.records.entities import Corpus, Model, PipelineRun, Project, Role, User
from studio.records.lifecycles import ModelStatus, ProjectStatus
from studio.records.repositories import EVERY_ORGANIZATION, Records, open_records

ANN, BOB = new_id(), new_id()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return open_records(open_home(tmp_path / "home"))


def model(name: str, owner: str | None = ANN, **fields: Any) -> Model:
    return Model(name=name, organization_id=owner, **fields)


def test_insert_and_get(records: Records) -> None:
    kept = records.models.insert(model("a", metadata={"x": [1, None]}))
    assert records.models.get(kept.id, organization_id=ANN) == kept
    with pytest.raises(ConflictError, match=kept.id):
        records.models.insert(kept)
    with pytest.raises(NotFoundError, match="no Model"):
        records.models.get(new_id(), organization_id=ANN)


def test_an_organization_sees_its_own_and_what_is_built_in(records: Records) -> None:
    ann, bob, built_in = (
        records.models.insert(model(name, owner)) for name, owner in (("a", ANN), ("b", BOB), ("c", None))
    )
    assert records.models.list(organization_id=ANN) == [built_in, ann]
    assert records.models.list(organization_id=BOB) == [built_in, bob]
    assert records.models.list(organization_id=None) == [built_in]
    assert records.models.list(organization_id=EVERY_ORGANIZATION) == [built_in, bob, ann]
    for change in (records.models.get, records.models.update, records.models.delete):
        with pytest.raises(NotFoundError):
            change(bob.id, organization_id=ANN)
    assert records.models.get(built_in.id, organization_id=ANN) == built_in


def test_what_is_built_in_is_read_only(records: Records) -> None:
    built_in = records.models.insert(model("c", None))
    with pytest.raises(UsageError, match="built in"):
        records.models.update(built_in.id, organization_id=ANN, name="mine")
    with pytest.raises(UsageError, match="built in"):
        records.models.delete(built_in.id, organization_id=ANN)
    records.models.update(built_in.id, organization_id=EVERY_ORGANIZATION, name="ours")


def test_update_changes_what_it_says(records: Records) -> None:
    old = records.models.insert(model("a", description="x"))
    new = records.models.update(old.id, organization_id=ANN, name="b", tags=("t",))
    assert new == old.model_copy(update={"name": "b", "tags": ("t",), "updated_at": new.updated_at})
    assert new.updated_at >= old.updated_at
    assert records.models.get(old.id, organization_id=ANN) == new


@pytest.mark.parametrize("field", ["id", "created_at", "updated_at"])
def test_some_fields_never_change(records: Records, field: str) -> None:
    kept = records.models.insert(model("a"))
    with pytest.raises(UsageError, match=field):
        records.models.update(kept.id, organization_id=ANN, **{field: new_id()})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "name: "),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"total_evaluations": -1}, "total_evaluations: "),
        ({"metadata": {"x": float("nan")}}, "no JSON form"),
        ({"avg_accuracy": float("nan")}, "avg_accuracy: "),
    ],
)
def test_a_refused_value_changes_nothing(records: Records, changes: dict[str, Any], text: str) -> None:
    kept = records.models.insert(model("a"))
    with pytest.raises(DataError, match=text) as caught:
        records.models.update(kept.id, organization_id=ANN, **changes)
    assert "\n" not in str(caught.value)
    assert records.models.get(kept.id, organization_id=ANN) == kept


def test_the_lifecycle_is_enforced(records: Records) -> None:
    kept = records.models.insert(model("a", status=ModelStatus.EXPERIMENTAL))
    with pytest.raises(
        TransitionError, match="model is experimental, it cannot become deprecated; allowed: active, archived"
    ):
        records.models.update(kept.id, organization_id=ANN, status="deprecated")
    assert records.models.update(kept.id, organization_id=ANN, status="active").status is ModelStatus.ACTIVE
    again = records.models.update(kept.id, organization_id=ANN, status="active", name="b")
    assert (again.name, again.status) == ("b", ModelStatus.ACTIVE), "the same state is no transition"


def test_the_lifecycle_of_another_field(records: Records) -> None:
    run = records.pipeline_runs.insert(PipelineRun(name="r", organization_id=ANN))
    with pytest.raises(TransitionError, match="pipeline is prerequisite_check"):
        records.pipeline_runs.update(run.id, organization_id=ANN, current_phase="validation")
    moved = records.pipeline_runs.update(run.id, organization_id=ANN, current_phase="corpus_download")
    assert moved.current_phase == "corpus_download"


def test_unique_names_per_organization(records: Records) -> None:
    first = records.corpora.insert(Corpus(name="books", s3_path="a", organization_id=ANN))
    records.corpora.insert(Corpus(name="books", s3_path="a", organization_id=BOB))
    other = records.corpora.insert(Corpus(name="letters", s3_path="a", organization_id=ANN))
    with pytest.raises(ConflictError, match="Corpus with name 'books'"):
        records.corpora.insert(Corpus(name="books", s3_path="b", organization_id=ANN))
    with pytest.raises(ConflictError, match="books"):
        records.corpora.update(other.id, organization_id=ANN, name="books")
    records.corpora.update(first.id, organization_id=ANN, name="books", s3_path="c")


def test_model_versions_are_unique_on_their_platform(records: Records) -> None:
    records.models.insert(model("a", platform="acme", platform_model_id="x", version="1"))
    records.models.insert(model("b", platform="acme", platform_model_id="x", version="2"))
    with pytest.raises(ConflictError, match="version '2'"):
        records.models.insert(model("c", platform="acme", platform_model_id="x", version="2"))


def test_listing_filters_and_orders(records: Records) -> None:
    made = [records.models.insert(model(f"m{number}", tags=("even",) * (number % 2 == 0))) for number in range(4)]
    records.models.update(made[1].id, organization_id=ANN, status="archived")
    names = [found.name for found in records.models.list(organization_id=ANN)]
    assert names == ["m3", "m2", "m1", "m0"]
    archived = records.models.list(organization_id=ANN, status=ModelStatus.ARCHIVED)
    assert [found.name for found in archived] == ["m1"]
    even = records.models.list(organization_id=ANN, where=lambda document: "even" in document["tags"])
    assert [found.name for found in even] == ["m2", "m0"]


def test_deleted_is_hidden(records: Records) -> None:
    project = records.projects.insert(Project(name="p", owner_id=ANN, organization_id=ANN))
    deleted = records.projects.update(project.id, organization_id=ANN, status=ProjectStatus.DELETED)
    assert records.projects.list(organization_id=ANN) == []
    assert records.projects.list(organization_id=ANN, include_deleted=True) == [deleted]
    assert records.projects.list(organization_id=ANN, status="DELETED") == [deleted]
    assert records.projects.get(project.id, organization_id=ANN) == deleted
    with pytest.raises(TransitionError, match="allowed: none"):
        records.projects.update(project.id, organization_id=ANN, status="ACTIVE")


def test_delete(records: Records) -> None:
    kept = records.models.insert(model("a"))
    records.models.delete(kept.id, organization_id=ANN)
    assert records.models.list(organization_id=ANN) == []
    with pytest.raises(NotFoundError):
        records.models.delete(kept.id, organization_id=ANN)


def test_several_changes_are_one(records: Records) -> None:
    kept = records.models.insert(model("a"))

    def spoil() -> None:
        records.models.update(kept.id, organization_id=ANN, name="b")
        records.corpora.insert(Corpus(name="books", s3_path="a", organization_id=ANN))
        records.models.update(kept.id, organization_id=ANN, name="")

    with pytest.raises(DataError), records.transaction():
        spoil()
    assert records.models.list(organization_id=ANN) == [kept]
    assert records.corpora.list(organization_id=ANN) == []


def test_the_default_owner_is_made_once(records: Records, tmp_path: Path) -> None:
    organization, admin = records.default_owner()
    assert admin.role is Role.ADMIN
    assert admin.organization_id == organization.id == organization.organization_id
    records.users.insert(User(name="ann", organization_id=organization.id))
    assert open_records(open_home(tmp_path / "home")).default_owner() == (organization, admin)


def test_records_load_nothing_heavy() -> None:
    code = (
        "import sys; import studio.records.repositories\n"
        "print([name for name in ('torch', 'transformers', 'lightning', 'hydra', 'numpy') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"

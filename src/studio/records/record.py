"""What every record is made of: ids, times, owners, and field types with their ranges. Knows no kind of record."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from studio.core.clock import iso, utc_now
from studio.core.ids import is_id, new_id


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("an id is a UUID in lower case")
    return text


def _checked_moment(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return moment


Id = Annotated[str, AfterValidator(_checked_id)]
"""A UUID."""
Moment = Annotated[datetime, AfterValidator(_checked_moment), PlainSerializer(iso, return_type=str, when_used="json")]
"""A UTC time, ISO 8601 in the file."""
Name = Annotated[str, Field(min_length=1, max_length=200)]
"""What a person calls it: 1 to 200 characters."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hex."""
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""0 to 1."""
Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""


class Part(BaseModel):
    """A piece of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants")


class Record(Part):
    """What every record has."""

    id: Id = Field(default_factory=new_id)
    """UUID."""
    organization_id: Id | None = None
    """Who owns it; null is built in and read-only."""
    created_at: Moment = Field(default_factory=utc_now)
    """When it was inserted, UTC."""
    updated_at: Moment = Field(default_factory=utc_now)
    """When it last changed, UTC."""

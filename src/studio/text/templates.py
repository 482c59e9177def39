"""Conversations as token ids, and which of them are trained on.

A conversation is `<|bos|>`, then for each message its role's token, its text and `<|end|>`; where an answer is wanted,
`<|assistant|>` follows. The same rule stands twice: as a Jinja template (what `transformers` and others run) and as
`render_chat`, which builds ids directly and so keeps special tokens that a user typed as plain text. Tests prove both
equal on every text that types none. It knows nothing of sessions and context lengths.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from studio.core.errors import DataError
from studio.text.chat_template import CHAT_TEMPLATE
from studio.text.tokenizers import Tokenizer

__all__ = ["CHAT_TEMPLATE", "check_messages", "render_chat", "render_jinja", "render_training"]

ROLES = ("system", "user", "assistant")

Message = Mapping[str, str]


def render_chat(tokenizer: Tokenizer, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    """Ids of a conversation. DataError for an unknown role, a late system message or content that is no text."""
    check_messages(messages)
    ids = [tokenizer.bos_id]
    for message, content in zip(messages, tokenizer.encode_batch([m["content"] for m in messages]), strict=True):
        ids += [tokenizer.special_tokens[message["role"]], *content, tokenizer.end_id]
    if add_generation_prompt:
        ids.append(tokenizer.assistant_id)
    return ids


def render_training(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Ids of a whole conversation and, for each, whether it is trained: the assistant's text and its `<|end|>`."""
    check_messages(messages)
    ids, mask = [tokenizer.bos_id], [False]
    for message, content in zip(messages, tokenizer.encode_batch([m["content"] for m in messages]), strict=True):
        ids += [tokenizer.special_tokens[message["role"]], *content, tokenizer.end_id]
        mask += [False] + [message["role"] == "assistant"] * (len(content) + 1)
    return ids, mask


def check_messages(messages: Sequence[Message]) -> None:
    """DataError, naming the message, unless each has a known role and text, and only the first may be the system's."""
    if not messages:
        raise DataError("a conversation needs at least one message")
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        where = f"message {number}"
        if role not in ROLES:
            raise DataError(f"unknown role {role!r}", where=where, remedy=f"Use one of: {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise DataError("content is missing or no text", where=where)
        if role == "system" and number > 1:
            raise DataError("a system message must come first", where=where)


def render_jinja(template: str, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """Run a chat template (ours or another model's) in a sandbox. DataError when it is no template or refuses."""
    try:
        rendered = _compiled(template).render(messages=messages, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # a template is a program: it can fail in any way
        raise DataError(f"the chat template failed: {error}", where="chat_template") from error
    return str(rendered)


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(template)


def _raise_exception(message: Any) -> None:
    raise jinja2.TemplateError(str(message))

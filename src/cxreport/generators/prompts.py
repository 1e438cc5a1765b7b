"""The text around the image tokens of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cxreport.errors import UserError
from cxreport.model_options import PrefixOptions

_IMAGE = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands where the image will be while a chat template is filled in."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Texts before and after the image; neither holds the symbol that begins a text."""

    before: str = ""
    after: str = ""


def prompt_of(options: PrefixOptions, tokenizer: Any) -> Prompt:
    """The prompt that `options` ask for; UserError for ``chat`` without a chat template."""
    if options.prompt == "none":
        return Prompt()
    if options.prompt == "chat":
        return chat_prompt(tokenizer, options.instruction)
    return published_prompt(options.instruction)


def published_prompt(instruction: str) -> Prompt:
    """R2GenGPT's prompt, of which all descendants have a copy (``models/R2GenGPT.py``, ``prompt_wrap``)."""
    return Prompt("Human: <Img>", f"</Img> {instruction} \nAssistant:")


def chat_prompt(tokenizer: Any, instruction: str) -> Prompt:
    """What a user says and the assistant begins to answer, in the tokenizer's own chat template."""
    if not tokenizer.chat_template:
        raise UserError(
            "model.prompt: chat needs a language model with a chat template; choose r2gengpt or none."
        )
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": f"{_IMAGE}\n{instruction}"}], tokenize=False, add_generation_prompt=True
    )
    before, image, after = text.partition(_IMAGE)
    if not image:
        raise UserError(
            "model.prompt: the chat template of this language model drops what a user says; choose r2gengpt."
        )
    return Prompt(before.removeprefix(tokenizer.bos_token or ""), after)

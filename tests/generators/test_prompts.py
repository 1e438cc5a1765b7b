"""The text around the image."""

from __future__ import annotations

import pytest
from tiny_language import byte_tokenizer, word_tokenizer

from cxreport.errors import UserError
from cxreport.generators.prompts import Prompt, chat_prompt, prompt_of
from cxreport.model_options import LanguageModelOptions, PrefixOptions

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def options(prompt: str) -> PrefixOptions:
    language = LanguageModelOptions(path="given")
    return PrefixOptions(generator="x", language_model=language, prompt=prompt, instruction="Write.")


def test_published() -> None:
    found = prompt_of(options("r2gengpt"), word_tokenizer())
    assert found == Prompt("Human: <Img>", "</Img> Write. \nAssistant:")


def test_none() -> None:
    assert prompt_of(options("none"), word_tokenizer()) == Prompt("", "")


def test_chat_without_the_symbol_that_begins() -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATE
    assert prompt_of(options("chat"), tokenizer) == Prompt("[user] ", "\nWrite.\n[assistant]")
    beginless = byte_tokenizer(eos_token="<end>")
    beginless.chat_template = TEMPLATE.replace("{{ bos_token }}", "")
    assert chat_prompt(beginless, "Write.") == Prompt("[user] ", "\nWrite.\n[assistant]")


def test_chat_without_a_template() -> None:
    with pytest.raises(UserError, match="needs a language model with a chat template"):
        prompt_of(options("chat"), word_tokenizer())


def test_a_template_that_drops_the_user() -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = "nothing"
    with pytest.raises(UserError, match="drops what a user says"):
        chat_prompt(tokenizer, "Write.")

"""The frame of image tokens before the text of a language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_language import REPORTS, bytes_folder, save, word_tokenizer, words_folder
from torch import Tensor

from cxreport.data.batch import Batch
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.language_search import Prefix
from cxreport.generators.prefix_lm import Part, PrefixLM
from cxreport.generators.seen import Seen
from cxreport.generators.word_loss import word_loss
from cxreport.model_options import LanguageModelOptions, PrefixOptions
from cxreport.options import DecodingOptions, EncoderOptions

GREEDY = DecodingOptions(method="greedy", max_length=12)


def build(path: str | None = None, tuning: str = "frozen", dtype: str = "auto", **options: Any) -> PrefixLM:
    torch.manual_seed(0)
    language = LanguageModelOptions(path=path or words_folder(), tuning=tuning, dtype=dtype)
    chosen = PrefixOptions(
        generator="prefix", encoder=EncoderOptions(width=4), language_model=language, **options
    )
    return PrefixLM.build(chosen, TrainStudies(REPORTS))


def batch(reports: list[str] | None = None) -> Batch:
    """Two studies; the second has one view."""
    images = torch.randn(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    mask = torch.tensor([[True, True], [True, False]])
    images[~mask] = 0
    return Batch(images, mask, ["a", "b"], reports or REPORTS[:2])


def row(whole: Batch, index: int) -> Batch:
    views = int(whole.view_mask[index].sum())
    kept = slice(index, index + 1)
    return Batch(
        whole.images[kept, :views],
        whole.view_mask[kept, :views],
        whole.study_ids[kept],
        whole.reports[kept],
    )


def by_hand(generator: PrefixLM, study: Batch) -> Tensor:
    """Log-probabilities of the report of one study of one view, its end included, without any padding."""
    language = generator.language_model
    table = language.network.model.embed_tokens.weight
    image = generator.encoder(study.images[:, 0]).patches[0]
    image = generator.norm(image @ generator.projection.weight.T + generator.projection.bias)
    tokenizer = language.tokenizer

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    instruction = generator.options.instruction
    after = ids(f"</Img> {instruction} \nAssistant:")
    report = [*ids(study.reports[0]), tokenizer.eos_token_id]
    pieces = [
        table[[tokenizer.bos_token_id]],
        table[ids("Human: <Img>")],
        image,
        table[after],
        table[report],
    ]
    logits = language.network(inputs_embeds=torch.cat(pieces)[None]).logits[0]
    return logits.log_softmax(1)[-len(report) - 1 : -1].gather(1, torch.tensor(report)[:, None])[:, 0]


class TestLoss:
    def test_by_hand(self) -> None:
        generator = build().eval()
        study = row(batch(), 1)
        parts = generator.loss(study)
        expected = -by_hand(generator, study)
        assert int(parts["tokens"]) == len(expected) == 8
        torch.testing.assert_close(parts["loss"], expected.mean(), atol=1e-5, rtol=1e-5)

    def test_of_a_batch_is_that_of_its_studies(self) -> None:
        for views in ("mean", "concatenate", "embeddings"):
            generator = build(views=views).eval()
            whole = generator.loss(batch())
            each = [generator.loss(row(batch(), index)) for index in (0, 1)]
            total = sum(parts["loss"] * parts["tokens"] for parts in each)
            assert int(whole["tokens"]) == sum(int(parts["tokens"]) for parts in each)
            torch.testing.assert_close(whole["loss"] * whole["tokens"], total, atol=1e-4, rtol=1e-5)

    def test_a_word_that_pads_is_learnt_where_it_is_written(self) -> None:
        """Labels are masked by length: the tokenizer pads with the id of the end, and of unknown words."""
        generator = build()
        generator.language_model.tokenizer.pad_token = "<unk>"
        assert int(generator.loss(batch(["heart", "an odd heart"]))["tokens"]) == 2 + 4

    def test_published_words_of_id_0_are_not_learnt(self) -> None:
        generator = build(published=True)
        assert int(generator.loss(batch(["heart", "an odd heart"]))["tokens"]) == 2 + 2

    def test_an_empty_report_has_an_end(self) -> None:
        assert int(build().loss(batch(["", "no effusion ."]))["tokens"]) == 1 + 4

    def test_finding_loss_is_added(self) -> None:
        generator = build(finding_loss=2.0).eval()
        known = replace(batch(), findings=[frozenset({("nodule", "left")}), frozenset()])
        parts, plain = generator.loss(known), build().eval()
        plain.load_state_dict(generator.state_dict(), strict=False)
        torch.testing.assert_close(parts["loss"] - parts["finding_loss"], plain.loss(known)["loss"])
        patches = generator.look(known).tokens.flatten(1, 2)
        found = generator.finding_head.loss(patches, known.view_mask, known.findings)
        torch.testing.assert_close(parts["finding_loss"], 2 * found)

    def test_word_loss_is_added(self) -> None:
        generator, plain = build(word_loss=2.0).eval(), build().eval()
        parts = generator.loss(batch())
        torch.testing.assert_close(parts["loss"] - parts["word_loss"], plain.loss(batch())["loss"])
        tokens = generator.look(batch()).tokens
        image = torch.stack([tokens[0].mean(dim=0), tokens[1, 0]])  # the mean over the present views
        image = generator.norm(generator.projection(image))
        ids, mask = generator.report_ids(batch().reports)
        table = generator.language_model.network.model.embed_tokens.weight
        torch.testing.assert_close(parts["word_loss"], 2 * word_loss(image, None, table, ids, mask))

    def test_the_word_loss_reaches_the_projection_alone(self) -> None:
        generator = build(word_loss=1.0, tuning="full", variant="shallow")
        generator.loss(batch())["word_loss"].backward()
        assert generator.projection.weight.grad is not None
        assert all(weight.grad is None for weight in generator.language_model.parameters())


class TestReportIds:
    def test_a_long_report_keeps_its_end(self) -> None:
        generator = build(max_length=4)
        ids, mask = generator.report_ids(REPORTS, 4)
        tokenizer = generator.language_model.tokenizer
        assert tokenizer.decode(ids[0]) == "the lungs are </s>"
        assert tokenizer.decode(ids[3]) == "no pneumothorax . </s>"
        assert mask.all()
        assert generator.truncated(REPORTS) == 3

    def test_a_long_report_loses_its_end_as_published(self) -> None:
        generator = build(max_length=4, published=True)
        ids, _ = generator.report_ids(REPORTS, 4)
        assert generator.language_model.tokenizer.decode(ids[0]) == "the lungs are clear"

    def test_without_a_limit_nothing_is_cut(self) -> None:
        ids, mask = build().report_ids(["no effusion .", "heart"])
        assert mask.tolist() == [[True] * 4, [True, True, False, False]]
        assert ids.shape == (2, 4)


class TestPrefix:
    def test_gaps_are_closed_to_the_right(self) -> None:
        embeddings = torch.arange(1.0, 9).view(2, 4, 1)
        mask = torch.tensor([[True, False, True, True], [False, True, False, True]])
        prefix = Prefix.of(embeddings, mask)
        assert prefix.embeddings[..., 0].tolist() == [[1, 3, 4], [0, 6, 8]]
        assert prefix.mask.tolist() == [[True] * 3, [False, True, True]]
        assert prefix.positions.tolist() == [[0, 1, 2], [0, 0, 1]]

    def test_views(self) -> None:
        tokens = torch.randn(2, 2, 3, 32)
        tokens[1, 1] = 0
        seen = Seen(tokens, tokens.mean(dim=2), batch().view_mask, (1, 3))
        joined, mask = build(views="mean").joined_views(seen)
        assert mask is None
        torch.testing.assert_close(joined, torch.stack([tokens[0].mean(dim=0), tokens[1, 0]]))
        torch.testing.assert_close(
            seen.global_vector(), torch.stack([tokens[0].mean(dim=(0, 1)), tokens[1, 0].mean(dim=0)])
        )
        joined, mask = build(views="concatenate").joined_views(seen)
        assert torch.equal(joined, tokens.flatten(1, 2))
        assert mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
        learnt = build(views="embeddings")
        torch.nn.init.normal_(learnt.view_embeddings)
        joined, mask = learnt.joined_views(seen)
        torch.testing.assert_close(joined[:, 3:], tokens[:, 1] + learnt.view_embeddings[1])
        assert mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3]

    def test_merged_patches(self) -> None:
        """64 px are 4 x 4 patches, read as 2 x 2 means."""
        images = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
        study = Batch(images, torch.ones(2, 1, dtype=torch.bool), ["a", "b"], REPORTS[:2])
        whole, merged = build(prompt="none").eval(), build(prompt="none", merge_patches=2).eval()
        patches = whole.encoder(images[:, 0]).patches.unflatten(1, (4, 4))
        squares = [
            patches[:, row : row + 2, column : column + 2].mean(dim=(1, 2))
            for row in (0, 2)
            for column in (0, 2)
        ]
        expected = merged.norm(merged.projection(torch.stack(squares, dim=1)))
        torch.testing.assert_close(merged.image_part(merged.look(study)).embeddings, expected)
        assert whole.prefix(study, whole.look(study)).mask.shape == (2, 1 + 16)
        assert merged.prefix(study, merged.look(study)).mask.shape == (2, 1 + 4)
        [seen, _] = merged.attention(study, study.reports)
        assert seen.weights.shape[1:] == (1, 2, 2)

    def test_more_views_than_vectors(self) -> None:
        with pytest.raises(UserError, match=r"2 views, and model.most_views is 1"):
            build(views="embeddings", most_views=1).loss(batch())

    def test_a_subclass_adds_parts(self) -> None:
        class More(PrefixLM):
            def prompt_parts(self, batch: Batch, seen: Seen) -> list[Part]:
                own = self.projection(seen.global_vector())[:, None]
                mask = torch.tensor([[True], [False]])
                return [Part(embeddings=own, mask=mask), *super().prompt_parts(batch, seen)]

        plain = build(prompt="none").eval()
        more = More(plain.options, plain.encoder, plain.language_model).eval()
        more.load_state_dict(plain.state_dict())
        seen = plain.look(batch())
        before, after = plain.prefix(batch(), seen), more.prefix(batch(), seen)
        assert after.mask.sum(dim=1).tolist() == [before.mask.shape[1] + 1, before.mask.shape[1]]
        torch.testing.assert_close(after.embeddings[1, 1:], before.embeddings[1])
        torch.testing.assert_close(after.embeddings[0, 2:], before.embeddings[0, 1:])
        torch.testing.assert_close(
            after.embeddings[0, 1], more.projection(seen.pooled.sum(dim=1) / torch.tensor([[2.0], [1.0]]))[0]
        )

    def test_a_tokenizer_that_begins_no_text(self) -> None:
        generator = build(bytes_folder(), prompt="none")
        image = generator.look(batch()).tokens.shape[2]
        assert generator.prefix(batch(), generator.look(batch())).mask.shape[1] == image
        published = build(bytes_folder(), prompt="none", published=True)
        prefix = published.prefix(batch(), published.look(batch()))
        torch.testing.assert_close(prefix.embeddings[0, 0], published.language_model.embed(torch.tensor(0)))

    def test_an_absent_view_is_not_seen(self) -> None:
        for views in ("mean", "concatenate", "embeddings"):
            generator = build(views=views).eval()
            garbage = batch()
            garbage.images[1, 1] = 1e3
            assert torch.equal(generator.loss(batch())["loss"], generator.loss(garbage)["loss"])


class TestWindow:
    @pytest.fixture
    def small(self, tmp_path: Any) -> str:
        return str(save(tmp_path / "small", word_tokenizer(), max_position_embeddings=40))

    def test_a_prompt_that_is_too_long(self, small: str) -> None:
        with pytest.raises(
            UserError, match=r"The prompt takes \d+ tokens, 4 of them image, more than the 40"
        ):
            build(small, instruction="lungs " * 40).loss(batch())

    def test_too_many_image_tokens(self, small: str) -> None:
        large = Batch(torch.randn(1, 1, 3, 256, 256), torch.ones(1, 1).bool(), ["a"], ["heart"])
        with pytest.raises(UserError, match=r"The image takes 256 tokens, more than the 40"):
            build(small).generate(large, GREEDY)

    def test_a_report_that_is_too_long(self, small: str) -> None:
        generator = build(small, prompt="none")
        message = r"The prompt takes 5 tokens and a report up to 36, together more than the 40"
        with pytest.raises(UserError, match=message):
            generator.generate(batch(), GREEDY.model_copy(update={"max_length": 36}))
        generator.generate(batch(), GREEDY.model_copy(update={"max_length": 35}))
        with pytest.raises(UserError, match="together more than the 40"):
            generator.loss(batch(["lungs " * 50, "heart"]))


class TestDrafts:
    def test_log_probabilities_are_those_of_the_same_text_read(self) -> None:
        generator = build(bytes_folder(), "full", views="concatenate").eval()
        penalised = GREEDY.model_copy(update={"repetition_penalty": 3.0, "min_new_tokens": 5})
        drafts = generator.generate(batch(), penalised)
        prefix = generator.prefix(batch(), generator.look(batch()))
        for number, draft in enumerate(drafts):
            ids = torch.tensor([generator.language_model.tokens(draft.text)])
            if ids.shape[1] + int(draft.finished) != len(draft.token_logprobs):
                continue  # other pieces give the same text
            alone = Prefix(prefix.embeddings[[number]], prefix.mask[[number]])
            read = generator._logprobs(alone, ids, torch.ones_like(ids).bool())
            expected = pytest.approx(draft.token_logprobs[: ids.shape[1]], abs=1e-4)
            assert read[0].tolist() == expected

    def test_score_is_what_the_loss_says(self) -> None:
        generator = build().eval()
        scored = generator.score(batch(), batch().reports)
        total = -torch.cat([one.logprobs for one in scored]).sum()
        parts = generator.loss(batch())
        torch.testing.assert_close(total, parts["loss"] * parts["tokens"], atol=1e-4, rtol=1e-5)
        assert scored[0].ends == (3, 9, 13, 19, 21, 24, 33, 35, 35)
        assert generator.score(batch(), ["", "no effusion ."])[0].ends == (0,)

    def test_ends_of_pieces(self) -> None:
        generator = build(bytes_folder())
        text = "no effusion . größer"
        ids = [*generator.language_model.tokens(text), generator.language_model.eos]
        ends = generator._token_ends(ids, text)
        assert list(ends) == sorted(ends)
        assert ends[-1] == ends[-2] == len(text)
        for number, end in enumerate(ends):
            decoded = generator.language_model.text(ids[: number + 1])
            assert decoded.removesuffix("\ufffd") == text[:end]

    def test_an_end_at_once_is_an_empty_draft(self) -> None:
        generator = build(tuning="full", prompt="none")
        optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            generator.loss(batch(["", ""]))["loss"].backward()
            optimizer.step()
        for decoding in (GREEDY, DecodingOptions(max_length=12)):
            for draft in generator.generate(batch(), decoding):
                assert (draft.text, draft.finished, len(draft.token_logprobs)) == ("", True, 1)
        longer = generator.generate(batch(), GREEDY.model_copy(update={"min_new_tokens": 3}))
        assert all(len(draft.token_logprobs) > 3 for draft in longer)

    def test_an_end_that_never_comes(self) -> None:
        generator = build(prompt="none")
        eos = generator.language_model.eos
        generator.language_model.network.lm_head.weight.data[eos] = 0
        never = GREEDY.model_copy(update={"min_new_tokens": 11})
        for draft in generator.generate(batch(), never):
            assert len(draft.token_logprobs) == 12
            assert not draft.finished or draft.text

    def test_guidance_compares_with_the_texts_of_the_prompt_alone(self) -> None:
        generator = build()
        language = generator.language_model
        blind = generator.blind_prefix(batch(), generator.look(batch()))
        texts = "Human: <Img>", f"</Img> {generator.options.instruction} \nAssistant:"
        ids = [language.bos, *language.tokens(texts[0]), *language.tokens(texts[1])]
        expected = language.embed(torch.tensor(ids)).expand(2, -1, -1)
        torch.testing.assert_close(blind.embeddings, expected, atol=0, rtol=0)
        guided = GREEDY.model_copy(update={"guidance": 3.0})
        alone = [generator.generate(row(batch(), index), guided)[0].text for index in range(2)]
        assert [draft.text for draft in generator.generate(batch(), guided)] == alone
        assert alone != [draft.text for draft in generator.generate(batch(), GREEDY)]

    def test_guidance_needs_something_that_begins_a_text(self) -> None:
        generator = build(bytes_folder(), prompt="none")
        with pytest.raises(UserError, match=r"guidance.*no symbol that begins a text"):
            generator.generate(batch(), GREEDY.model_copy(update={"guidance": 1.0}))
        with pytest.raises(UserError, match=r"image_dropout.*no symbol that begins a text"):
            build(bytes_folder(), prompt="none", image_dropout=0.5).train().loss(batch())

    def test_a_study_without_its_image_reads_what_guidance_compares_with(self) -> None:
        generator = build().eval()
        seen = generator.look(batch())
        prefix = generator.prefix(batch(), seen, torch.tensor([True, False]))
        blind, whole = generator.blind_prefix(batch(), seen), generator.prefix(batch(), seen)
        left = prefix.mask[0].logical_not().sum()
        torch.testing.assert_close(prefix.embeddings[0, left:], blind.embeddings[0], atol=0, rtol=0)
        torch.testing.assert_close(prefix.embeddings[1], whole.embeddings[1], atol=0, rtol=0)

    def test_a_word_generators_option_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"does not know decoding.block_trigrams"):
            build().generate(batch(), DecodingOptions(method="greedy", block_trigrams=True))

    def test_a_written_out_end_cuts_the_text_as_published(self) -> None:
        generator = build(bytes_folder(), published=True)
        tokens = generator.language_model.tokens("no effusion .</s> more")
        kept = generator._until_end(tokens)
        draft = generator._draft(kept, (0.0,) * len(kept), 0.0)
        assert draft.text == "no effusion ."
        assert draft.finished
        assert len(kept) < len(tokens)


class TestTuning:
    def grads(self, tuning: str) -> dict[str, Tensor | None]:
        generator = build(tuning=tuning).train()
        for _ in range(2):  # the second factor of an update starts at zero
            generator.loss(batch())["loss"].backward()
            with torch.no_grad():
                for parameter in generator.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
        return {name: parameter.grad for name, parameter in generator.named_parameters()}

    def test_a_frozen_language_model_gets_no_gradient(self) -> None:
        grads = self.grads("frozen")
        assert all(grad is None for name, grad in grads.items() if name.startswith("language_model"))
        others = [grad for name, grad in grads.items() if not name.startswith("language_model")]
        assert all(grad is not None and grad.any() for grad in others)

    def test_low_rank_updates_do(self) -> None:
        grads = self.grads("lora")
        language = {name: grad for name, grad in grads.items() if name.startswith("language_model")}
        updates = {name: grad for name, grad in language.items() if "lora_" in name}
        assert len(updates) == 2 * 2 * 2
        assert all(grad is not None and grad.any() for grad in updates.values())
        assert all(grad is None for name, grad in language.items() if name not in updates)

    def test_a_half_language_model_in_the_other_half(self) -> None:
        """As the published systems train: in bfloat16, the language model in float16."""
        plain, half = build().eval(), build(dtype="16").eval()
        with torch.autocast("cpu", torch.bfloat16):
            loss = half.loss(batch())["loss"]
        loss.backward()
        assert half.language_model.dtype == torch.float16
        torch.testing.assert_close(loss, plain.loss(batch())["loss"], atol=0.1, rtol=0.02)
        assert all(bool(parameter.grad.any()) for parameter in half.projection.parameters())

    def test_a_frozen_encoder_stays_as_it_is(self) -> None:
        generator = build()
        generator.freeze_encoder()
        before = {key: value.clone() for key, value in generator.encoder.state_dict().items()}
        generator.train()
        assert not generator.encoder.training
        generator.loss(batch())["loss"].backward()
        after = generator.encoder.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)  # running means of norms, too
        assert all(parameter.grad is None for parameter in generator.encoder_parameters())

"""What R2GenCMN has and R2Gen has not: a shared memory, places of patches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.generators.cross_modal_transformer import CrossModalTransformer
from cxreport.generators.decoding import beam_search, greedy_search
from cxreport.generators.encoder_decoder import POSITIONS
from cxreport.model_options import R2GenCMNOptions

CPU = torch.device("cpu")


def build(**options: int) -> CrossModalTransformer:
    torch.manual_seed(2)
    sizes = {"width": 16, "feed_forward": 24, "heads": 2, "layers": 2, "memory_rows": 12, "memory_top": 3}
    network = CrossModalTransformer(11, 5, R2GenCMNOptions(**sizes | options)).eval()
    with torch.no_grad():
        network.memory.matrix.normal_()
        network.head.weight.normal_()
    return network


@pytest.fixture
def features() -> Tensor:
    return torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(4))


def test_patches_and_words_read_the_same_matrix(features: Tensor) -> None:
    network, ids = build(), torch.tensor([[0, 4, 7, 2]] * 3)
    with torch.no_grad():
        context = network.encode(features)
        decoded = network.decode(context, None, ids)
        network.memory.matrix += 1.0
        assert not torch.allclose(network.encode(features), context)
        assert not torch.allclose(network.decode(context, None, ids), decoded)


def test_a_silent_memory_leaves_a_plain_transformer(features: Tensor) -> None:
    network = build()
    with torch.no_grad():
        for parameter in network.memory.output.parameters():
            parameter.zero_()
        x = network.project(features) + network.positions[:6]
        for layer in network.encoder_layers:
            x = layer(x)
        assert torch.equal(network.encode(features), network.encoder_norm(x))


def test_patches_have_an_order(features: Tensor) -> None:
    network, order = build(), torch.tensor([3, 0, 5, 1, 4, 2])
    assert not torch.allclose(
        network.encode(features)[:, order], network.encode(features[:, order]), atol=1e-3
    )


def test_more_patches_than_positions_are_refused() -> None:
    with pytest.raises(
        UserError, match=rf"{POSITIONS + 1} patches .* positions for {POSITIONS}; .*image_size"
    ):
        build().encode(torch.zeros(1, POSITIONS + 1, 5))


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_word_by_word_is_what_is_read_at_once(features: Tensor, beams: int) -> None:
    network = build()
    mask = torch.ones(3, 1, 1, 6, dtype=torch.bool)
    mask[1, ..., 4:] = False
    with torch.inference_mode():
        context = network.encode(features, mask)
        if beams == 1:
            texts = greedy_search(network.stepper(context, mask), 3, 12, CPU)
        else:
            found = beam_search(network.stepper(context, mask), 3, beams, 12, CPU, keep=beams)
            texts = [best for best, *_ in found]
        for study, text in enumerate(texts):
            ids = torch.tensor([[0, *text.ids[:-1]]])
            kept = slice(study, study + 1)
            read = network.log_probabilities(network.decode(context[kept], mask[kept], ids))[0]
            taken = read.gather(1, torch.tensor(text.ids).unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(torch.tensor(text.logprobs), taken, atol=1e-5, rtol=1e-5)
    assert len({text.ids for text in texts}) > 1


def test_the_matrix_starts_as_published() -> None:
    """Mean 0 and deviation 1 / width, not as the transformer's other matrices."""
    matrix = CrossModalTransformer(11, 5, R2GenCMNOptions(width=64, layers=1)).memory.matrix.detach()
    assert float(matrix.std()) == pytest.approx(1 / 64, rel=0.02)

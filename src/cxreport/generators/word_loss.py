"""A second loss for image tokens before a language model: which words the report has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def word_loss(image: Tensor, present: Tensor | None, table: Tensor, ids: Tensor, real: Tensor) -> Tensor:
    """Mean binary cross-entropy, a scalar, of every word of the batch being in each study's report.

    `image` (B, N, D) are image tokens, of which `present` (B, N) exist (all of them without it), `table`
    (V, D) the embeddings of a language model, `ids` (B, T) reports, of which `real` (B, T) exist. The score
    of a word is the log-sum-exp, over a study's image tokens, of their product with the word's embedding. It
    counts by how far it lies above its mean over the batch, to which the share of the batch's reports that
    have the word is added: image tokens have to say what tells a study from others, and not what all have.

    So they come to lie among the words that they stand for, which a language model can read.

    Source: the bag-of-word loss of Zhao et al., "Learning Discourse-level Diversity for Neural Dialog
    Models", ACL 2017, section 3.3; its softmax over all words is one yes or no a word here.
    """
    words = ids[real].unique()
    has = ((ids.unsqueeze(2) == words) & real.unsqueeze(2)).any(dim=1).float()
    products = image.float() @ table[words].detach().float().T
    if present is not None:
        products = products.masked_fill(~present.unsqueeze(2), float("-inf"))
    scores = products.logsumexp(dim=1)
    share = (has.sum(dim=0) + 0.5) / (len(has) + 1)
    return functional.binary_cross_entropy_with_logits(scores - scores.mean(dim=0) + torch.logit(share), has)

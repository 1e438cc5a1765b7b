"""The nearest of many vectors by cosine, exactly: with torch, and with faiss where they are very many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FAISS_FROM = 50_000
"""From so many vectors on faiss searches: torch would hold a score of every vector for every query."""
_SLACK = 1e-5
"""Scores of 32 bits this near to each other are compared again with 64."""

Method = Literal["torch", "faiss"]


class NearestVectors:
    """Searches `vectors` (N, D) float32; `method` is chosen by their number where it is None.

    Both methods are exact and give the same: candidates come from scores of 32 bits, their order from scores
    of 64 bits, and of equal ones the earlier vector is first. A vector of zeros has cosine 0 with everything.
    With faiss a second, normalised copy of the vectors is held.
    """

    def __init__(self, vectors: Tensor, method: Method | None = None) -> None:
        self._vectors = vectors
        self._norms = vectors.norm(dim=1).clamp_min(1e-30)
        self.method: Method = method or ("faiss" if len(vectors) >= FAISS_FROM else "torch")
        self._index = _faiss_index(vectors, self._norms) if self.method == "faiss" else None

    def nearest(
        self, queries: Tensor, k: int, without: Sequence[Sequence[int]] = ()
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places (M, k) and cosines (M, k) of the nearest to `queries` (M, D), best first.

        ``without[m]`` are places that query m does not see. Raises ValueError where fewer than k are left.
        """
        unit = torch.nn.functional.normalize(queries.detach().cpu().float(), dim=1, eps=1e-30)
        hidden = [np.unique(np.asarray(places, dtype=np.int64)) for places in without]
        hidden = hidden or [np.empty(0, dtype=np.int64)] * len(unit)
        most = max((len(places) for places in hidden), default=0)
        if k < 1 or len(self._vectors) - most < k:
            raise ValueError(f"{k} of {len(self._vectors)} vectors, {most} of them hidden")
        find = self._by_torch if self._index is None else self._by_faiss
        places, scores = np.empty((len(unit), k), dtype=np.int64), np.empty((len(unit), k))
        for row, candidates in enumerate(find(unit, k, hidden)):
            exact = self._exact(unit[row], candidates)
            order = np.lexsort((candidates, -exact))[:k]
            places[row], scores[row] = candidates[order], exact[order]
        return places, scores

    def _exact(self, query: Tensor, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = torch.from_numpy(candidates)
        products = (self._vectors[chosen].double() * query.double()).sum(dim=1)
        return (products / self._norms[chosen].double()).numpy()

    def _by_torch(self, unit: Tensor, k: int, hidden: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        scores = (unit @ self._vectors.T) / self._norms
        for row, places in enumerate(hidden):
            scores[row, torch.from_numpy(places)] = -torch.inf
        least = scores.topk(k, dim=1).values[:, -1:] - _SLACK
        return [row.nonzero()[:, 0].numpy() for row in scores >= least]

    def _by_faiss(self, unit: Tensor, k: int, hidden: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Asks for more until what is beyond the k-th is clearly further away."""
        assert self._index is not None
        count, queries = len(self._vectors), unit.numpy()
        found: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(queries)
        asking = list(range(len(queries)))
        wanted = min(count, k + max((len(places) for places in hidden), default=0) + 8)
        while asking:
            rows = zip(asking, *_searched(self._index, queries[asking], wanted), strict=True)
            asking = []
            for row, scores, ids in rows:
                seen = ~np.isin(ids, hidden[row])
                near = scores[seen] >= scores[seen][k - 1] - _SLACK
                found[row] = ids[seen][near].astype(np.int64)
                if near[-1] and wanted < count:
                    asking.append(row)
            wanted = min(count, 4 * wanted)
        return found


def _searched(index: Any, queries: NDArray[np.float32], wanted: int) -> Any:
    """Scores and ids; by products of matrices for two queries and more, where faiss's own rule is slower."""
    import faiss

    own_rule = faiss.cvar.distance_compute_blas_threshold
    try:
        if len(queries) > 1:
            faiss.cvar.distance_compute_blas_threshold = 1
        return index.search(queries, wanted)
    finally:
        faiss.cvar.distance_compute_blas_threshold = own_rule


def _faiss_index(vectors: Tensor, norms: Tensor) -> Any:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), FAISS_FROM):
        part = slice(start, start + FAISS_FROM)
        index.add((vectors[part] / norms[part, None]).numpy())
    return index

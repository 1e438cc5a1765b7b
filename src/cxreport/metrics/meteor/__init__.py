"""METEOR 1.5 for English: matcher, search and score in Python, or the published program through Java."""

from __future__ import annotations

from cxreport.metrics.meteor.score import match_statistics, meteor, meteor_tally, score_from_statistics

__all__ = ["match_statistics", "meteor", "meteor_tally", "score_from_statistics"]

"""A metric whose package, weights or resources are not there."""

from __future__ import annotations

from cxreport.errors import UserError


class MetricUnavailable(UserError):  # noqa: N818
    """Says in one sentence what to install or to fetch; a table shows it in the place of the score."""

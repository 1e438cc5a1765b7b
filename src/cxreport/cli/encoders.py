"""``cxreport encoders``: which image encoders there are, and what their tokens cost."""

from __future__ import annotations

from cxreport.cli.common import AsJson, app
from cxreport.terminal import print_json, print_table


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List the image encoders with their parameters, tokens and published source."""
    from cxreport.encoders.listing import SIZES, list_encoders

    rows = list_encoders()
    if as_json:
        print_json({"encoders": rows})
        return
    header = ("name", "parameters (M)", *(f"tokens at {size}" for size in SIZES), "published source")
    lines = []
    for row in rows:
        tokens = [f"{count:,}" if count else "-" for count in row["tokens"].values()]
        lines.append((row["name"], f"{row['parameters'] / 1e6:.1f}", *tokens, row["source"]))
    print_table(header, lines, text=(0, len(header) - 1))

"""Chest X-rays that we render ourselves, so that every finding, side, size and place is known."""

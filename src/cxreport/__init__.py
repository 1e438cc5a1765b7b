"""Draft, train, score and compare radiology reports from chest X-rays."""

__version__ = "0.6.0"

DISCLAIMER = "Preliminary draft written by a research program. Not for diagnosis."

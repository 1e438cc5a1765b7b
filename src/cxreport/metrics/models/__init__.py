"""Scores from trained models: CheXbert, RadGraph, RaTEScore, GREEN and RadCliQ-v1.

Weights come from a local folder or the hub's cache (:mod:`cxreport.metrics.models.folders`), never from a
download. Packages that need other versions of our own libraries run in a Python of their own
(:mod:`cxreport.metrics.models.package_process`).
"""

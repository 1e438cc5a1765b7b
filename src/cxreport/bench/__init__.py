"""Whole experiments from data to table, and the page that shows one."""

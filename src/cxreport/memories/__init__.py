"""Memories that generators carry: relational memory."""

"""Memories that generators carry, and banks of train studies."""

"""Backstage: what the lesson leans on, and need not be read with it."""

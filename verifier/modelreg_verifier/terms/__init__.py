"""Whose word counts under a policy, and what nodes owe."""

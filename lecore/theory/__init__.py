"""Closed forms, as oracles: they share no code with what they check."""

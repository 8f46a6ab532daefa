"""Neighbours: five systems read beside local elasticity."""

"""Measuring networks and data as people have them."""

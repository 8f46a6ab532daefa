"""Networks whose changes are written out as formulas."""

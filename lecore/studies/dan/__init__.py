"""Dan, Mukherjee, Das & Gampa, Dynamics of Local Elasticity During Training (2021)."""

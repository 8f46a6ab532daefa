"""Questions of our own, which neither paper asks."""

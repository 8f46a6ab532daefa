"""A network at fixed weights: its private copy, and how its forward pass behaves."""

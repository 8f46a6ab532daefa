"""Dan et al.'s figures, and ours beside them; one file a chapter."""

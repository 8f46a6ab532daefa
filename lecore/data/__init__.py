"""Images, photographs and synthetic points."""

"""What the papers did, one folder a paper."""

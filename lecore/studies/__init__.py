"""What the papers did, one folder a paper, and questions of our own."""

"""Speed and memory of lecore against what a user could pick instead, in ratios within one run."""

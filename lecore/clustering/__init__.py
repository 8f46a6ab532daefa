"""He & Su's Algorithm 1 as an estimator, with its parts and its scores."""

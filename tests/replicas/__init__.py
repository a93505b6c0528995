"""Sources read from replicas, which lag and fail, and miss nothing."""

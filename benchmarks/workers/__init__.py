"""What several worker processes cost together, and a model of many hosts that is checked by it."""

"""Who asks: tokens of others, and what becomes of open connections."""

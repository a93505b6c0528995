"""Who asks: what comes with a request or a connection, and what a project makes of it."""

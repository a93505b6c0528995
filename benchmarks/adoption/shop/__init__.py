"""The existing project's one app, which knows nothing of GraphQL."""

"""The package in a project that knows nothing of this one, by `docs/existing-project.md`."""

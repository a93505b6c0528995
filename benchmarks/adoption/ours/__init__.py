"""The shop made live by this project, as docs/existing-project.md tells."""

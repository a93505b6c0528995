"""Django's ORM, awaited: a package that knows nothing of the project around it."""

"""Django's ORM, awaited: a package that knows nothing of the project around it.

The setting `ENGINE` of a database names it; `docs/async-orm.md` explains it.
"""

"""Django's ORM, awaited: a package that knows nothing of the project around it.

`ENGINE = "app.database"` names it in the settings; `docs/async-orm.md` explains it.
"""

"""Authorization by key, and the audit of changes.

policy      keys, and what each route needs
middleware  authentication before a route is looked for
audit       changes as events
"""

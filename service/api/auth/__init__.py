"""Who may do what, and what was done.

policy      keys, and what each route needs
middleware  authentication before a route is looked for
audit       changes as events
"""

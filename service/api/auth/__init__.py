"""Authorization by key, and the audit of changes.

policy      keys, and the access that each key allows
middleware  authentication as a dependency of each route
audit       changes as events
"""

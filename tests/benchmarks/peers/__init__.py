"""`python -m tests.benchmarks.peers`: quantserve and other servers, on the same models.

__main__     the command
models       three models that are built with seeded weights
forms        request bodies and answers of each server's API
peers        the servers: packages, command, settings
installed    one virtual environment for each peer
contest      runs the servers alternately
table        the results as Markdown
apps         code that runs inside the peers, on their own Python
"""

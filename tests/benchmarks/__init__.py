"""The server compared to the HTTP limit, the compute limit and a tutorial's endpoint."""

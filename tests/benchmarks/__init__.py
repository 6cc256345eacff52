"""What the server costs next to the HTTP limit, the compute limit and a tutorial's endpoint."""

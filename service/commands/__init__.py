"""The commands of ``quantserve``, one a file: ``add`` describes it, ``run`` does it."""

"""The commands of ``quantserve``, one a file: ``describe`` tells its flags, ``run`` does it."""

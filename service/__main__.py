"""``python -m service`` is the command ``quantserve``."""

import sys

from service.cli import main

sys.exit(main())

"""Print the dependencies of a pyproject.toml, with those of the named extras: python
requirements.py pyproject.toml [EXTRA ...]. Dependencies installed from this stay in the build's
cache while only the code changes.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
more = [line for extra in sys.argv[2:] for line in project["optional-dependencies"][extra]]
print("\n".join(project["dependencies"] + more))

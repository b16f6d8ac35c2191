"""`python -m seepage`: the command line."""

import os
import sys

# `-m` puts the working directory first: there a file could stand in for an installed package.
if sys.path and os.path.abspath(sys.path[0] or ".") == os.getcwd():
    sys.path.append(sys.path.pop(0))

from seepage.cli import main

main()

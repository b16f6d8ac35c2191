"""`python -m seepage`: the command line where no script was installed."""

from seepage.cli import main

main()

"""``python -m tiervec.cli``: the ``tiervec`` command where no script is installed."""

import sys

from tiervec.cli.main import main

sys.exit(main())

"""``python -m waterspout``."""

import sys

from .build import main

sys.exit(main())

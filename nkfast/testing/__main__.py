"""``python -m nkfast.testing``."""

import sys

from nkfast.testing.campaign import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m nkfast`` is ``nkfast``."""

from nkfast.app.cli import main

if __name__ == "__main__":
    main()

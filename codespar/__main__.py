"""`python -m codespar` is the command line, wherever the `codespar` script is not on the path."""

from codespar.cli import main

if __name__ == "__main__":
    main()
